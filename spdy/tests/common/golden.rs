//! The file of inputs and the answers of moby/spdystream 0.5.1: name, bytes, answer, a tab between. Where the
//! answer is left out ([`LEFT_OUT`]), the row is about ours alone.

/// Instead of an answer.
pub(crate) const LEFT_OUT: &str = "-";

/// A line of it.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: String,
}

pub(crate) fn parse(text: &str) -> Vec<Row> {
    text.lines().map(row).collect()
}

fn row(line: &str) -> Row {
    let mut fields = line.split('\t');
    let mut field = || fields.next().unwrap_or_default();
    let (name, hex, answer) = (field(), field(), field());
    let byte = |at| {
        hex.get(at..at + 2)
            .and_then(|d| u8::from_str_radix(d, 16).ok())
    };
    let bytes: Option<_> = (0..hex.len()).step_by(2).map(byte).collect();
    Row {
        name: name.to_owned(),
        bytes: bytes.unwrap_or_else(|| panic!("not hexadecimal: {line}")),
        answer: answer.replace("; ", "\n"),
    }
}
