//! The file of `--keylog`.

use super::common::{ONE, directory, pfspec, run, said, text};
use std::fs;

#[test]
fn keys_of_tls() {
    let directory = directory();
    let path = directory.path().join("keys");
    let (code, out, error) = said(&run(&["server", ONE, "--keylog", &text(&path)]));
    assert_eq!(code, 0, "{out}{error}");
    let warned = error.lines().filter(|line| line.starts_with("warning: "));
    let warned: Vec<&str> = warned.collect();
    assert!(
        matches!(warned.as_slice(), [line] if line.contains("keys of this run's TLS connections")),
        "{error}"
    );
    let keys = fs::read_to_string(&path).unwrap();
    let hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    for line in keys.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [label, random, secret] = words.as_slice() else {
            panic!("{line}")
        };
        assert!(
            label.ends_with("_SECRET_0") || label.ends_with("_SECRET"),
            "{label}"
        );
        assert!(random.len() == 64 && hex(random) && secret.len() >= 64 && hex(secret));
    }
    for label in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
        // Those of the case, and those of the question whether anybody is there.
        assert_eq!(keys.matches(label).count(), 2, "{label}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        mode(0o644);
        let (code, out, error) = said(&run(&["server", ONE, "--keylog", &text(&path)]));
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(error.contains("others may read it"), "{error}");
        mode(0o600);
    }
    // It is added to.
    assert_eq!(said(&run(&["server", ONE, "--keylog", &text(&path)])).0, 0);
    let longer = fs::read_to_string(&path).unwrap();
    assert!(longer.starts_with(&keys) && longer.len() > keys.len());
}

#[test]
fn only_if_asked_for() {
    let directory = directory();
    let path = directory.path().join("keys");
    let output = pfspec(&["server", ONE])
        .env("SSLKEYLOGFILE", &path)
        .output();
    let (code, _, error) = said(&output.unwrap());
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(!path.exists());
    let dry = run(&["server", ONE, "--dry-run", "--keylog", &text(&path)]);
    assert_eq!(said(&dry).0, 0);
    assert!(!path.exists());
}

#[test]
#[cfg(unix)]
fn of_nobody_else() {
    use rustix::process::geteuid;
    let directory = directory();
    let path = directory.path().join("keys");
    fs::write(&path, "").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let refused = |path: &std::path::Path, words: &str| {
        let path = text(path);
        let (code, out, error) = said(&run(&["server", ONE, "--keylog", &path]));
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        let start = format!("error: cannot write keys to {path}: ");
        assert!(
            error.starts_with(&start) && error.contains(words),
            "{error}"
        );
    };
    refused(&link, "it is a link, which may lead anywhere");
    // One that leads nowhere is not followed to a new file either.
    fs::remove_file(&path).unwrap();
    refused(&link, "it is a link, which may lead anywhere");
    assert!(!path.exists());
    if geteuid().is_root() {
        fs::write(&path, "").unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        refused(
            &path,
            "it belongs to user 65534, and this is user 0; name a file of your own",
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    } else {
        eprintln!("SKIPPED: only root can give a file away");
    }
}
