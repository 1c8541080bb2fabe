//! Running a command on one thread, and the signals that stop it.

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::output::print_error;

/// Threads for what may hang: a scan of the processes, a write to a disk, the resolution of a name.
const BLOCKING_THREADS: usize = 3;

/// Longer than the program runs: a thread that has begun is kept, since the system may have none left for another.
const KEPT: Duration = Duration::from_hours(24 * 365 * 100);

/// Runs a command; an error of the operating system ends it with a message.
pub(super) fn block_on(command: impl Future<Output = io::Result<ExitCode>>) -> ExitCode {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).thread_keep_alive(KEPT);
    let ended = builder.build().and_then(|runtime| {
        let ended = runtime.block_on(command);
        // A scan of the processes or a write to a disk may hang: nothing waits for it.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        print_error(error);
        ExitCode::FAILURE
    })
}

/// Starts the first of the threads for what may hang, inside a command: later there may be none left.
///
/// # Errors
/// When there is none now.
pub(super) fn start_blocking_thread() -> io::Result<()> {
    // The runtime would panic.
    let _ended = thread::Builder::new().spawn(|| ())?.join();
    tokio::task::spawn_blocking(|| ());
    Ok(())
}

/// Completes at SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signals cannot be handled.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
