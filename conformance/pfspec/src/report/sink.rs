//! Where reports go: checked before the run, written whole or not at all.

use super::model::Document;
use super::{html, junit, markdown, sarif, tap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line for each case.
    Text,
    /// Everything.
    Json,
    /// JUnit.
    Junit,
    /// One page.
    Html,
    /// A comment.
    Markdown,
    /// SARIF.
    Sarif,
    /// TAP.
    Tap,
}

/// A report that is asked for: `FORM` to standard output, or `FORM=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Form.
    pub form: Form,
    /// File; none is standard output.
    pub file: Option<PathBuf>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, file) = match text.split_once('=') {
            None => (text, None),
            Some((_, "")) => return Err(format!("{text:?} names no file")),
            Some((form, "-")) => (form, None),
            Some((form, file)) => (form, Some(PathBuf::from(file))),
        };
        let form = match form {
            "text" => Form::Text,
            "json" => Form::Json,
            "junit" => Form::Junit,
            "html" => Form::Html,
            "md" => Form::Markdown,
            "sarif" => Form::Sarif,
            "tap" => Form::Tap,
            other => {
                return Err(format!(
                    "{other:?} is none of text, json, junit, html, md, sarif, tap"
                ));
            }
        };
        Ok(Self { form, file })
    }
}

/// A report's text.
///
/// # Errors
/// None that can happen but a bug.
pub fn render(form: Form, document: &Document) -> Result<String, String> {
    Ok(match form {
        Form::Text => document
            .results
            .iter()
            .map(|record| record.line() + "\n")
            .collect(),
        Form::Json => document.json().map_err(|error| error.to_string())?,
        Form::Junit => junit::write(document)?,
        Form::Html => html::write(&[document]),
        Form::Markdown => markdown::write(document),
        Form::Sarif => sarif::write(document),
        Form::Tap => tap::write(document),
    })
}

/// A file that is written whole: beside its place, and then moved there. Dropped before that, nothing is left of it.
#[derive(Debug)]
pub struct Place {
    file: Option<File>,
    beside: Option<PathBuf>,
    path: PathBuf,
}

impl Place {
    /// Checks that the file can be written.
    ///
    /// # Errors
    /// Why not.
    pub fn new(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path);
        if let Ok(meta) = &meta {
            if meta.is_dir() {
                return Err(io::Error::other("it is a directory"));
            }
            if !meta.is_file() {
                // A device or a pipe cannot be replaced.
                let file = File::options().write(true).open(path)?;
                return Ok(Self {
                    file: Some(file),
                    beside: None,
                    path: path.to_owned(),
                });
            }
            if meta.permissions().readonly() {
                return Err(io::Error::other("it is read-only"));
            }
        }
        // What a link points to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(hidden);
        let file = File::options().write(true).create_new(true).open(&beside)?;
        Ok(Self {
            file: Some(file),
            beside: Some(beside),
            path,
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// Why not; what was there before is still there then.
    pub fn write(mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.write_all(bytes)?;
            file.flush()?;
        }
        if let Some(beside) = &self.beside {
            fs::rename(beside, &self.path)?;
            self.beside = None;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            drop(fs::remove_file(beside));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a");
        fs::write(&path, "before")?;
        drop(Place::new(&path)?);
        assert_eq!(fs::read(&path)?, b"before");
        Place::new(&path)?.write(b"behind")?;
        assert_eq!(fs::read(&path)?, b"behind");
        assert_eq!(fs::read_dir(directory.path())?.count(), 1);
        assert!(Place::new(directory.path()).is_err());
        assert!(Place::new(&directory.path().join("no/file")).is_err());
        Ok(())
    }

    #[test]
    fn wanted() {
        for bad in ["", "pdf", "json=", "pdf=x"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
        let file = Some(PathBuf::from("a=b"));
        assert_eq!(
            "md=a=b".parse(),
            Ok(Wanted {
                form: Form::Markdown,
                file
            })
        );
    }
}
