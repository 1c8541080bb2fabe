//! The interface through which the poll loop gets credentials, whatever provides them.

use std::future::Future;

use super::resolution::Resolution;
use super::signing::Signing;

/// Resolves credentials, one resolution per call. Each ends in bounded time, and may be cancelled at any await.
pub trait Source: Send {
    /// Resolves them, and drops the secrets.
    fn resolve(&mut self) -> impl Future<Output = Resolution> + Send;

    /// Likewise, but hands over what a signed call needs. A source that has no secrets never does.
    fn resolve_to_sign(&mut self) -> impl Future<Output = (Resolution, Option<Signing>)> + Send {
        async { (self.resolve().await, None) }
    }
}
