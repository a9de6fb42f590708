//! Limits of this process. All best effort.

/// Buffers of a busy connection, together.
const BUFFERS: usize = 1 << 20;

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

/// Lets the C library's allocator keep buffers that will be wanted again at once. By itself glibc gives what is free
/// at the heap's end back to the system from 128 KiB on, and an upload had the pages of its buffers made anew for every
/// frame, which took half as much CPU again (benches/e2e/README.md). Once it has freed a large piece it
/// keeps twice as much as that (mallopt(3), `M_MMAP_THRESHOLD`). This one is not written to, so it costs no more than a page.
pub(crate) fn keep_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BUFFERS)));
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
