//! `--keylog`: the keys of the run's TLS connections, in the form of NSS, by which Wireshark opens a capture that was
//! taken outside.

use crate::report::hex;
use rustls::KeyLog;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// The file. It is added to if it is there, as other programs do with theirs.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    file: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: File,
    /// The first write that failed.
    failed: Option<io::Error>,
}

impl KeyFile {
    /// Opens it, for its owner alone.
    ///
    /// # Errors
    /// Why not, and what to do: others may read it, it is somebody else's, or it is no file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            use std::os::unix::fs::OpenOptionsExt as _;
            // No link to somebody else's file, and no pipe that waits for a reader.
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            options.mode(0o600).custom_flags(flags.bits().cast_signed());
        }
        let file = options.open(path).map_err(|error| {
            // The system's own word for it is a loop of links.
            if path.is_symlink() {
                let text = "it is a link, which may lead anywhere: name the file itself";
                return io::Error::other(text);
            }
            error
        })?;
        // Of what is open, not of a name that may mean something else by now.
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
            if owner != us {
                let text = format!(
                    "it is somebody else's, who could read it: it belongs to user {owner}, and this is user {us}; name a \
                     file of your own, or a new one"
                );
                return Err(io::Error::other(text));
            }
            let mode = metadata.mode() & 0o777;
            if mode & 0o077 != 0 {
                let text = format!("others may read it, its mode is {mode:04o}: chmod 600");
                return Err(io::Error::other(text));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(Written { file, failed: None }),
        })
    }

    /// What is to be said loudly of it.
    #[must_use]
    pub fn warning(&self) -> String {
        format!(
            "warning: {} gets the keys of this run's TLS connections: whoever has them and the packets reads all of it, \
             tokens included; take it away when it has served",
            self.path.display()
        )
    }

    /// The first write that failed, if one has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let mut written = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let error = written.failed.take()?;
        Some(format!("cannot write {}: {error}", self.path.display()))
    }
}

impl KeyLog for KeyFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let secret = Zeroizing::new(hex(secret));
        let line = format!("{label} {} {}\n", hex(client_random), *secret);
        let line = Zeroizing::new(line);
        let mut written = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write for a line: other programs may add to the file too.
        if let Err(error) = written.file.write_all(line.as_bytes()) {
            written.failed.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("keys");
        for _ in 0..2 {
            let keys = KeyFile::open(&path)?;
            keys.log("CLIENT_RANDOM", &[1, 2], &[3, 4]);
            assert_eq!(keys.failure(), None);
        }
        assert_eq!(
            std::fs::read_to_string(&path)?,
            "CLIENT_RANDOM 0102 0304\n".repeat(2)
        );
        assert!(KeyFile::open(directory.path()).is_err());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it() -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("keys");
        drop(KeyFile::open(&path)?);
        let mode = std::fs::metadata(&path)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640))?;
        let error = KeyFile::open(&path).unwrap_err();
        assert!(error.to_string().contains("0640"), "{error}");
        let link = directory.path().join("link");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        std::os::unix::fs::symlink(&path, &link)?;
        assert!(KeyFile::open(&link).is_err());
        // With nobody to read it, a pipe must not hold the run up.
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
        assert!(made.success() && KeyFile::open(&pipe).is_err());
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told() {
        // A device takes the place of the disk: it is no file, and so it is not opened by name.
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let keys = KeyFile {
            path: PathBuf::from("keys"),
            file: Mutex::new(Written { file, failed: None }),
        };
        keys.log("CLIENT_RANDOM", &[1], &[2]);
        let failure = keys.failure().unwrap();
        assert!(failure.starts_with("cannot write keys: "), "{failure}");
    }
}
