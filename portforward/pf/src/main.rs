//! See the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    pf_program::main()
}
