//! The interface through which the poll loop gets credentials, whatever provides them.

use std::future::Future;
use std::pin::Pin;

use super::credential::Credential;
use super::region::Region;
use super::resolution::Resolution;
use super::signing::SigningCredentials;

/// Resolves credentials, one attempt per call.
pub trait Source: Send {
    /// One attempt. It ends in bounded time, and may be cancelled at any await.
    fn resolve(&mut self) -> impl Future<Output = Resolution> + Send;

    /// Hands the secrets of a document over to `caller` whenever it wants them, instead of dropping them. A source that has
    /// no secrets ignores it.
    fn set_signed_caller(&mut self, _caller: Box<dyn SignedCaller>) {}
}

/// A request for the region that can be made once; `None` if the region is not told.
pub type RegionRequest = Pin<Box<dyn Future<Output = Option<Region>> + Send>>;

/// What makes the signed calls.
pub trait SignedCaller: Send + Sync {
    /// Whether a call with these credentials is due.
    fn wants(&self, credential: &Credential) -> bool;

    /// Takes them for a call. Does not wait.
    fn take(&self, credential: &Credential, secrets: SigningCredentials, region: RegionRequest);
}
