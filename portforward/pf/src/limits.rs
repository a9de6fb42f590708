//! Limits of this process. All best effort.

/// Forbids core dumps, which would hold credentials.
pub(crate) fn no_core_dumps() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = Rlimit {
            current: Some(0),
            maximum: getrlimit(Resource::Core).maximum,
        };
        setrlimit(Resource::Core, limit).ok();
    }
}

/// Allows as many open files as the system lets us have: every forwarded connection takes one.
/// Children started afterwards inherit it, so credential plugins run before.
pub(crate) fn many_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Nofile, limit).ok();
    }
}
