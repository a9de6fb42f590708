//! The two outputs: kubectl's lines on stdout, everything else on stderr.
//!
//! Each has a thread of its own behind a bounded queue, so that a reader who stops reading (a script that waits
//! for the first line only) or goes away can neither stall the forwarding nor end the program.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that may wait for a reader. Beyond it lines are dropped.
const QUEUE: usize = 1 << 12;
/// Lines that follow each other faster than this are written together: one by one they cost a change of
/// threads each.
const PAUSE: Duration = Duration::from_millis(10);
/// About so many bytes at a time: no line of both outputs in one pipe is torn by a write that had to wait.
const TOGETHER: usize = 2 << 10;

/// Handle to both outputs; clones share them.
#[derive(Clone)]
pub(crate) struct Output {
    out: SyncSender<Job>,
    err: SyncSender<Job>,
    verbosity: u8,
}

enum Job {
    Line(String),
    Sync(SyncSender<()>),
}

impl Output {
    pub(crate) fn new(verbosity: u8) -> io::Result<Self> {
        Ok(Self {
            out: writer("stdout", io::stdout())?,
            err: writer("stderr", io::stderr())?,
            verbosity,
        })
    }

    /// A line on stdout, written at once, or after [`PAUSE`] behind others.
    pub(crate) fn line(&self, line: String) {
        send(&self.out, line);
    }

    /// A line on stderr. What came from elsewhere must be escaped already.
    pub(crate) fn note(&self, line: String) {
        send(&self.err, line);
    }

    /// A line on stderr if `-v` asks for that level. Never a secret at any level.
    pub(crate) fn trace(&self, level: u8, line: impl FnOnce() -> String) {
        if level <= self.verbosity {
            send(&self.err, line());
        }
    }

    /// Waits until all lines so far are out, at most `limit` for each output.
    pub(crate) fn finish(&self, limit: Duration) {
        for queue in [&self.out, &self.err] {
            let (done, wait) = sync_channel(1);
            if queue.try_send(Job::Sync(done)).is_ok() {
                // Too slow: the lines are lost, as they would be with the reader gone.
                wait.recv_timeout(limit).ok();
            }
        }
    }
}

fn send(queue: &SyncSender<Job>, line: String) {
    match queue.try_send(Job::Line(line)) {
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
    }
}

fn writer(name: &str, to: impl Write + Send + 'static) -> io::Result<SyncSender<Job>> {
    let (queue, jobs) = sync_channel(QUEUE);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || write_all(&jobs, to))?;
    Ok(queue)
}

fn write_all(jobs: &Receiver<Job>, mut to: impl Write) {
    let mut paused = Instant::now();
    while let Ok(first) = jobs.recv() {
        let mut lines = String::new();
        let mut next = Some(first);
        let mut synced = None;
        while let Some(job) = next.take() {
            match job {
                Job::Line(line) => {
                    lines.push_str(&line);
                    lines.push('\n');
                    if lines.len() < TOGETHER {
                        next = jobs.try_recv().ok();
                    }
                }
                Job::Sync(done) => synced = Some(done),
            }
        }
        // A closed output is no reason to stop forwarding.
        drop(to.write_all(lines.as_bytes()).and_then(|()| to.flush()));
        if let Some(done) = synced {
            done.send(()).ok();
        } else if lines.len() < TOGETHER && paused.elapsed() < PAUSE.saturating_mul(2) {
            std::thread::sleep(PAUSE);
        }
        paused = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, MutexGuard};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.lock().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_in_order_and_levels_hold() {
        let (out, err) = (Shared::default(), Shared::default());
        let output = Output {
            out: writer("o", out.clone()).unwrap(),
            err: writer("e", err.clone()).unwrap(),
            verbosity: 1,
        };
        output.line("a".to_owned());
        output.line("b".to_owned());
        output.note("n".to_owned());
        output.trace(1, || "t".to_owned());
        output.trace(2, || panic!("not asked for"));
        output.finish(Duration::from_secs(10));
        assert_eq!(&*out.lock(), b"a\nb\n");
        assert_eq!(&*err.lock(), b"n\nt\n");
    }

    #[test]
    fn a_closed_output_harms_nothing() {
        let output = Output {
            out: writer("o", Closed).unwrap(),
            err: writer("e", Closed).unwrap(),
            verbosity: 0,
        };
        for _ in 0..2 * QUEUE {
            output.line("x".to_owned());
        }
        output.finish(Duration::from_secs(10));
    }

    /// A reader that never reads: sending does not block, finishing is bounded.
    #[test]
    fn a_stuck_output_stalls_nobody() {
        let (out, _jobs) = sync_channel(QUEUE);
        let (err, _jobs) = sync_channel(QUEUE);
        let output = Output {
            out,
            err,
            verbosity: 0,
        };
        for _ in 0..2 * QUEUE {
            output.line("x".to_owned());
        }
        output.finish(Duration::from_millis(10));
    }
}
