//! Running a command on one thread, and the signals that stop it.

use std::future::Future;
use std::io;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a command; an error of the operating system ends it with a message.
pub(super) fn block_on(command: impl Future<Output = io::Result<ExitCode>>) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| {
        let ended = runtime.block_on(command);
        // A look at the processes or a write to a disk may hang: nothing waits for it.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        eprintln!("imds-exporter: {error}");
        ExitCode::FAILURE
    })
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
