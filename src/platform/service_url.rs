//! The URL of a service: where it is, and nothing that could be a secret.
//!
//! Owns what is demanded of every endpoint. Must not know which service it is, nor which schemes that allows.

use reqwest::Url;

/// A URL without user, query or fragment, whose path ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceUrl(Url);

impl ServiceUrl {
    /// Adds the slash at its end. The error is what it must not hold, and never repeats the value, which may hold a password.
    pub(crate) fn new(mut url: Url) -> Result<Self, &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not hold a query or fragment");
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// The host, with brackets around an IPv6 address, and the port if it is not that of the scheme: the value of the `Host`
    /// header.
    pub(crate) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}
