//! `--record`: the file a transcript goes to.

use crate::exit::{Exit, Failure, Hop};
use crate::output::Output;
use portforward::record::{self, RecordError, Recorder, Recording};
use portforward::transcript::Provenance;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For the last lines to reach the disk.
const LAST_LINES: Duration = Duration::from_secs(5);

/// A transcript to be. It is written beside its place, as `FILE.part`, and gets its name when it is
/// whole.
pub(crate) struct Record {
    file: PathBuf,
    part: PathBuf,
    state: State,
    /// Forwarding has ended.
    ending: Arc<AtomicBool>,
}

enum State {
    Created(File),
    Running(Recording<File>),
    Over,
}

impl Record {
    /// Makes the file, for the user's eyes only: it will hold what the connections carry.
    ///
    /// # Errors
    /// Exit code 2: it is there already, or cannot be made.
    pub(crate) fn create(file: &Path) -> Result<Self, Failure> {
        let cannot = |path: &Path, error: &io::Error| {
            let why = match error.kind() {
                io::ErrorKind::AlreadyExists => "it is there already".to_owned(),
                _ => error.to_string(),
            };
            Failure::usage(format!("cannot record to {}: {why}", show(path)))
        };
        match fs::symlink_metadata(file) {
            Ok(_) => {
                let error = io::ErrorKind::AlreadyExists.into();
                return Err(cannot(file, &error).advise("name a file that is not there yet"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(file, &error)),
        }
        if file.file_name().is_none() {
            let text = format!("cannot record to {}: it is no file name", show(file));
            return Err(Failure::usage(text));
        }
        let mut part = OsString::from(file);
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let opened = options.open(&part).map_err(|error| {
            let failure = cannot(&part, &error);
            if error.kind() == io::ErrorKind::AlreadyExists {
                failure.advise("another pf writes it, or one was killed: then remove it")
            } else {
                failure
            }
        })?;
        Ok(Self {
            file: file.to_owned(),
            part,
            state: State::Created(opened),
            ending: Arc::default(),
        })
    }

    /// Begins. What ends it early, be it at the first line, is told on stderr, once, by `output`.
    ///
    /// # Errors
    /// Exit code 1: there is no thread to be had.
    pub(crate) fn start(
        &mut self,
        provenance: &Provenance,
        output: &Output,
    ) -> Result<Recorder, Failure> {
        let failed = |error: &io::Error| {
            let text = format!("cannot record to {}: {error}", show(&self.part));
            Failure::new(Exit::General, Hop::Local, text)
        };
        let State::Created(file) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(failed(&io::Error::other("it is in use")));
        };
        let (note, part) = (output.clone(), self.part.clone());
        let ending = Arc::clone(&self.ending);
        let told = move |error: &RecordError| {
            note.note(cut(&part, error, ending.load(Ordering::Relaxed)));
        };
        let (recorder, recording) =
            record::start(file, provenance, told).map_err(|error| failed(&error))?;
        self.state = State::Running(recording);
        Ok(recorder)
    }

    /// Ends it and gives the file its name. What goes wrong is told on stderr.
    pub(crate) fn finish(self, output: &Output) {
        let recording = match self.state {
            State::Running(recording) => recording,
            // Not begun: nothing is in it.
            State::Created(_) => {
                fs::remove_file(&self.part).ok();
                return;
            }
            State::Over => return,
        };
        self.ending.store(true, Ordering::Relaxed);
        let part = show(&self.part);
        match recording.finish(LAST_LINES) {
            Ok(file) => {
                if let Err(error) = file.sync_all() {
                    output.note(format!(
                        "warning: the recording may not be whole: {error}; what there is of it is in {part}"
                    ));
                } else if let Err(error) = rename(&self.part, &self.file) {
                    output.note(format!(
                        "warning: the recording is whole, but stays in {part}: {error}"
                    ));
                }
            }
            Err(error @ RecordError::Stuck) => output.note(cut(&self.part, &error, true)),
            // Told when it happened. Of nothing, nothing stays.
            Err(_) => {
                if fs::metadata(&self.part).is_ok_and(|file| file.len() == 0) {
                    fs::remove_file(&self.part).ok();
                }
            }
        }
    }
}

fn cut(part: &Path, error: &RecordError, ending: bool) -> String {
    let goes_on = if ending { "" } else { ", forwarding goes on" };
    let kept = if fs::metadata(part).is_ok_and(|file| file.len() == 0) {
        "nothing of it was written".to_owned()
    } else {
        format!("what there is of it is in {}", show(part))
    };
    format!("warning: the recording ended early{goes_on}: {error}; {kept}")
}

fn show(path: &Path) -> String {
    portforward::escape::line(&path.to_string_lossy())
}

/// Never onto a file that was made meanwhile: a link, unlike a rename, replaces nothing.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        Err(_) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(error) => Err(error),
    }
}
