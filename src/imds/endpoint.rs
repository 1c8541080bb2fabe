//! The address of IMDS.

use reqwest::Url;

use crate::platform::service_url::ServiceUrl;

/// IMDS over IPv4. Source: EC2 user guide, "Access instance metadata".
pub const IPV4_ENDPOINT: &str = "http://169.254.169.254";

/// IMDS over IPv6, the SDKs' endpoint mode `IPv6`. Source: as above.
pub const IPV6_ENDPOINT: &str = "http://[fd00:ec2::254]";

/// Where IMDS is: an `http` URL without user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(ServiceUrl);

impl Endpoint {
    /// Parses an endpoint as the SDKs take it.
    ///
    /// # Errors
    /// What is wrong with it; the text never repeats the value, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL that begins with http://")?;
        if url.scheme() != "http" {
            return Err("must begin with http:// (IMDS has no TLS)");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("has no host");
        }
        ServiceUrl::new(url).map(Self)
    }

    /// As text, without the last slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.url().as_str().trim_end_matches('/')
    }

    /// The host, with brackets around an IPv6 address, and the port if it is not that of HTTP.
    #[must_use]
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// The host and the port to connect to.
    pub(super) fn address(&self) -> (&str, u16) {
        let url = self.0.url();
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        (host, url.port_or_known_default().unwrap_or_default())
    }

    /// The path of a request.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.0.url().path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_the_sdks_accept_are_accepted() {
        for (text, shown) in [
            ("http://169.254.169.254", "http://169.254.169.254"),
            ("http://127.0.0.1:1338/", "http://127.0.0.1:1338"),
            ("http://[fd00:ec2::254]", "http://[fd00:ec2::254]"),
            ("http://proxy.local/imds", "http://proxy.local/imds"),
        ] {
            assert_eq!(Endpoint::parse(text).expect("a valid endpoint").as_str(), shown);
        }
        for text in
            ["", "169.254.169.254", "https://169.254.169.254", "http://", "http://u:p@h", "http://h/?q", "file:///x"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        for (text, authority) in [
            ("http://169.254.169.254:80/", "169.254.169.254"),
            ("http://127.0.0.1:1338", "127.0.0.1:1338"),
            (IPV6_ENDPOINT, "[fd00:ec2::254]"),
        ] {
            assert_eq!(Endpoint::parse(text).expect("a valid endpoint").authority(), authority);
        }
        let endpoint = Endpoint::parse("http://proxy.local/imds").expect("a valid endpoint");
        assert_eq!((endpoint.target("latest/x").as_str(), endpoint.address()), ("/imds/latest/x", ("proxy.local", 80)));
        assert_eq!(Endpoint::parse(IPV6_ENDPOINT).expect("a valid endpoint").address(), ("fd00:ec2::254", 80));
    }
}
