//! The Go program that judges inputs (`spdy-go-0.5.1 judge`, conformance/peers/spdy), started once.

use std::io::{BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Killed when dropped; it also ends when this process does.
pub(crate) struct Judge {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Judge {
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("judge").stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (questions, answers) = pipes.ok_or_else(|| Error::from(ErrorKind::BrokenPipe))?;
        Ok(Self {
            process,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// One round trip; at most 1,000 inputs of 256 KiB, and of 8 MiB together.
    pub(crate) fn ask(&mut self, inputs: &[&[u8]]) -> Result<Vec<String>> {
        let word = |n: usize| u32::try_from(n).map(u32::to_be_bytes);
        let mut batch = word(inputs.len()).map_err(Error::other)?.to_vec();
        for input in inputs {
            batch.extend(word(input.len()).map_err(Error::other)?);
            batch.extend_from_slice(input);
        }
        // It reads all of them before it answers the first.
        self.questions.write_all(&batch)?;
        self.questions.flush()?;
        inputs.iter().map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> Result<String> {
        let mut length = [0; 4];
        self.answers.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length));
        let mut answer = String::new();
        (&mut self.answers)
            .take(length)
            .read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
