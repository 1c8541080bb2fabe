//! The port through which the poll loop gets credentials: it must not know which source there is.

use std::future::Future;

use crate::model::Resolution;

/// Resolves credentials, one attempt a call.
pub trait Source: Send {
    /// One attempt, told whole. It ends in bounded time; it may be dropped at any await.
    fn resolve(&mut self) -> impl Future<Output = Resolution> + Send;
}
