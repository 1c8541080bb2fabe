//! The interface through which the poll loop gets credentials, whatever provides them.

use std::future::Future;

use super::resolution::Resolution;

/// Resolves credentials, one attempt per call.
pub trait Source: Send {
    /// One attempt. It ends in bounded time, and may be cancelled at any await.
    fn resolve(&mut self) -> impl Future<Output = Resolution> + Send;
}
