//! The kubeconfig file: the only place where a secret of the cluster is written.

use crate::exit::{Exit, Failure, Hop};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// First line of what we write: what does not begin so is never replaced.
const MARK: &str = "# Written by pf serve, which removes it when it ends.\n";
/// A kubeconfig of ours is shorter.
const LONGEST: u64 = 64 * 1024;

/// A place for a kubeconfig, with an empty file beside it that will take its place.
pub(super) struct KubeconfigFile {
    path: PathBuf,
    beside: Beside,
    file: File,
}

/// A kubeconfig that was written. Dropping it removes it, unless another is in its place.
pub(super) struct Written {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl KubeconfigFile {
    /// Makes sure that `path` can be written.
    ///
    /// # Errors
    /// Exit code 2.
    pub(super) fn begin(path: &Path) -> Result<Self, Failure> {
        let fail = |text: &str| failure(path, text);
        let absolute = std::path::absolute(path).map_err(|error| fail(&error.to_string()))?;
        let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(fail("it is not the name of a file"));
        };
        check(&absolute)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = Beside(folder.join(beside));
        // Left behind by somebody of our number who was killed.
        fs::remove_file(&beside.0).ok();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&beside.0)
            .map_err(|error| fail(&plain(&error)))?;
        Ok(Self {
            path: absolute.clone(),
            beside,
            file,
        })
    }

    /// Puts the whole text in its place at once.
    ///
    /// # Errors
    /// Exit code 2.
    pub(super) fn write(mut self, kubeconfig: &str) -> Result<Written, Failure> {
        let text = Zeroizing::new(format!("{MARK}{kubeconfig}"));
        // Once more: somebody may have made one meanwhile.
        check(&self.path)?;
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| place(&self.beside.0, &self.path))
            .map_err(|error| failure(&self.path, &plain(&error)))?;
        Ok(Written {
            path: self.path,
            text,
        })
    }
}

/// The file that takes the place; gone in any case, by its new name or removed.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

impl Written {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if read(&self.path).is_ok_and(|found| *found == *self.text.as_bytes()) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Whether nothing is lost by writing there.
///
/// # Errors
/// Exit code 2: something is there that `pf serve` did not write.
fn check(path: &Path) -> Result<(), Failure> {
    let fail = |text: &str| Err(failure(path, text));
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fail("it is a folder"),
        // A link is somebody's, wherever it leads.
        Ok(metadata) if !metadata.is_file() => fail("it is no ordinary file"),
        Ok(_) if !is_ours(path) => Err(failure(
            path,
            "there is a file that pf serve has not written",
        )
        .advise("give --kubeconfig-out another path, or remove that file")),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_ours(path: &Path) -> bool {
    read(path).is_ok_and(|found| found.starts_with(MARK.as_bytes()))
}

/// Where there was nothing, a link, which replaces nothing that was made meanwhile.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        // One of ours, or a file system without links.
        Err(_) if is_ours(to) || fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut found = Zeroizing::new(Vec::new());
    File::open(path)?.take(LONGEST).read_to_end(&mut found)?;
    Ok(found)
}

fn failure(path: &Path, why: &str) -> Failure {
    let shown = portforward::escape::line(&path.to_string_lossy());
    let text = format!("cannot write the kubeconfig {shown}: {why}");
    Failure::new(Exit::Usage, Hop::CommandLine, text)
}

/// The system's words for an error, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pf-file-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn it_comes_and_goes_as_a_whole() {
        let folder = Folder::new("whole");
        let path = folder.0.join("config");
        let begun = KubeconfigFile::begin(&path).unwrap();
        assert_eq!(folder.names().len(), 1);
        assert!(!path.exists());
        let written = begun.write("a: b\n").unwrap();
        assert_eq!(folder.names(), ["config"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{MARK}a: b\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        drop(written);
        assert_eq!(folder.names(), [""; 0]);
        drop(KubeconfigFile::begin(&path).unwrap());
        assert_eq!(folder.names(), [""; 0]);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let folder = Folder::new("stays");
        let path = folder.0.join("config");
        fs::write(&path, "apiVersion: v1\n").unwrap();
        let failure = KubeconfigFile::begin(&path).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("has not written"), "{failure}");
        // Nor is an empty one, or a link, wherever it leads.
        fs::write(&path, "").unwrap();
        assert!(KubeconfigFile::begin(&path).is_err());
        #[cfg(unix)]
        {
            let link = folder.0.join("link");
            std::os::unix::fs::symlink("nowhere", &link).unwrap();
            assert!(KubeconfigFile::begin(&link).is_err());
            assert!(fs::symlink_metadata(&link).is_ok());
        }
        // Nor one that was made meanwhile.
        fs::remove_file(&path).unwrap();
        let begun = KubeconfigFile::begin(&path).unwrap();
        fs::write(&path, "mine\n").unwrap();
        assert!(begun.write("1").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
        // One of a run that was killed is replaced.
        fs::write(&path, format!("{MARK}old")).unwrap();
        let first = KubeconfigFile::begin(&path).unwrap().write("1").unwrap();
        // And of two runs the later has the place.
        let second = KubeconfigFile::begin(&path).unwrap().write("2").unwrap();
        drop(first);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{MARK}2"));
        drop(second);
        assert!(!path.exists());
        for bad in [
            folder.0.clone(),
            folder.0.join("none/config"),
            PathBuf::from("/"),
        ] {
            let failure = KubeconfigFile::begin(&bad).err().unwrap();
            assert_eq!(failure.exit, Exit::Usage, "{failure}");
        }
    }
}
