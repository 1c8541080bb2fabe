//! Standard error, for log lines: what cannot be written at once is dropped and counted, so that a log that nobody reads
//! stops nothing.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The most that fits into a pipe which is ready: `PIPE_BUF` of Linux.
const FITS: usize = 4096;

/// Lines that were dropped and not yet mentioned.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes each buffer, which is a whole line, or drops it.
pub(super) struct LogWriter {
    /// The line that says how many were dropped.
    pub(super) dropped: fn(u64) -> String,
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Locked, so that no other thread writes between the question and the answer.
        let mut stderr = io::stderr().lock();
        let mut dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 && write_now(&mut stderr, (self.dropped)(dropped).as_bytes()) {
            dropped = 0;
        }
        if dropped > 0 || !write_now(&mut stderr, line) {
            DROPPED.fetch_add(dropped + 1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes as much as can be written without waiting; returns whether that was all.
fn write_now(stderr: &mut io::StderrLock<'_>, text: &[u8]) -> bool {
    text.chunks(FITS).all(|chunk| {
        let mut ready = [PollFd::new(stderr, PollFlags::OUT)];
        let asked = poll(&mut ready, Some(&Timespec::default()));
        asked == Ok(1) && ready[0].revents().contains(PollFlags::OUT) && stderr.write_all(chunk).is_ok()
    })
}
