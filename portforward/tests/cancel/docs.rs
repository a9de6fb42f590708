//! What the documentation says.

use std::path::Path;

/// Every public method that returns a future says what dropping it means.
#[test]
fn every_future_says_whether_it_may_be_dropped() {
    fn look(directory: &Path, count: &mut usize, missing: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, count, missing);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests are at the end of a file, or files of their own.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let line = line.trim_start();
                let is_abort = line.starts_with("fn abort(self) ->");
                if !line.starts_with("pub async fn ") && !line.starts_with("pub fn ") && !is_abort {
                    continue;
                }
                let signature: Vec<&str> = lines[at..]
                    .iter()
                    .take_while(|line| !line.ends_with('{') && !line.ends_with(';'))
                    .chain(lines[at..].iter().find(|line| line.ends_with(['{', ';'])))
                    .copied()
                    .collect();
                let signature = signature.join(" ");
                if !signature.contains("async fn") && !signature.contains("impl Future<") {
                    continue;
                }
                // Futures as arguments are the caller's.
                let returned = signature.rsplit("->").next().unwrap();
                if !signature.contains("async fn") && !returned.contains("impl Future<") {
                    continue;
                }
                *count += 1;
                let documented = lines[..at]
                    .iter()
                    .rev()
                    .take_while(|line| line.trim_start().starts_with(['/', '#']))
                    .any(|line| line.contains("# Cancel safety"));
                if !documented {
                    missing.push(format!("{}:{}: {line}", path.display(), at + 1));
                }
            }
        }
    }
    let (mut count, mut missing) = (0, Vec::new());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    look(&source, &mut count, &mut missing);
    assert!(count >= 17, "only {count} were found");
    assert!(missing.is_empty(), "{missing:#?}");
}
