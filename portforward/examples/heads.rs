//! What this crate makes of heads of HTTP/1.1, a line for each that it takes, to be compared with what
//! another parser makes of them (`fuzz/heads.go`):
//!
//!     cargo run -q -p portforward --example heads -- DIRECTORY...
//!
//! A file is an input of the fuzz target `http1_head`: one byte, then the head.

use bytes::BytesMut;
use portforward::http1::{Fields, HeadLimits, RequestHead, ResponseHead};
use std::fmt::Write as _;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    for directory in env::args_os().skip(1) {
        for file in fs::read_dir(directory)? {
            let file = file?;
            let data = fs::read(file.path())?;
            let data = data.get(1..).unwrap_or_default();
            let (name, limits) = (file.file_name(), HeadLimits::default());
            let name = name.to_string_lossy();
            if let Ok(Some(head)) = RequestHead::parse(&mut BytesMut::from(data), &limits) {
                println!(
                    "{name} request {} {}{}",
                    head.method,
                    head.target,
                    shown(&head.fields)
                );
            }
            if let Ok(Some(head)) = ResponseHead::parse(&mut BytesMut::from(data), &limits) {
                println!("{name} response {}{}", head.status, shown(&head.fields));
            }
        }
    }
    Ok(())
}

/// Names and values in hexadecimal, sorted; without what Go keeps elsewhere.
fn shown(fields: &Fields) -> String {
    const ELSEWHERE: [&str; 5] = [
        "host",
        "content-length",
        "transfer-encoding",
        "trailer",
        "connection",
    ];
    let mut all = Vec::new();
    for field in fields {
        let name = field.name().to_ascii_lowercase();
        if ELSEWHERE.contains(&&*name) {
            continue;
        }
        let mut one = format!(" {name}=");
        for byte in field.value() {
            // Writing to a String does not fail.
            let _ok = write!(one, "{byte:02x}");
        }
        all.push(one);
    }
    all.sort();
    all.concat()
}
