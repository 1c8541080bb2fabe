//! The address of STS.

use std::net::IpAddr;

use reqwest::Url;

use crate::domain::Region;
use crate::platform::service_url::ServiceUrl;

/// Where STS is: an `https` URL, or an `http` URL of this machine, without user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(ServiceUrl);

impl Endpoint {
    /// The regional endpoint: the SDKs' default. Source: the endpoint rules of STS in botocore 1.44.5.
    #[must_use]
    pub fn of_region(region: &Region) -> Self {
        let url = format!("https://sts.{region}.{}/", region.dns_suffix());
        Self::parse(&url).expect("a region is a label of a host name")
    }

    /// Parses an endpoint as the SDKs take it.
    ///
    /// # Errors
    /// What is wrong with it; the text never repeats the value, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL that begins with https://")?;
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() || !["http", "https"].contains(&url.scheme()) {
            return Err("is not a URL that begins with https://");
        }
        if url.scheme() == "http" && !is_loopback(host) {
            return Err("must begin with https:// (http:// only for this machine): the request holds a session token");
        }
        ServiceUrl::new(url).map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.url().as_str()
    }

    pub(super) fn url(&self) -> Url {
        self.0.url().clone()
    }

    /// The value of the `Host` header.
    pub(super) fn authority(&self) -> String {
        self.0.authority()
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_the_endpoint_of_its_partition() {
        for (region, url) in [
            ("eu-central-1", "https://sts.eu-central-1.amazonaws.com/"),
            ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com/"),
            ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
            ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu/"),
            ("us-iso-east-1", "https://sts.us-iso-east-1.c2s.ic.gov/"),
            ("us-isob-east-1", "https://sts.us-isob-east-1.sc2s.sgov.gov/"),
            ("eu-isoe-west-1", "https://sts.eu-isoe-west-1.cloud.adc-e.uk/"),
            ("us-isof-south-1", "https://sts.us-isof-south-1.csp.hci.ic.gov/"),
            ("xx-new-1", "https://sts.xx-new-1.amazonaws.com/"),
        ] {
            assert_eq!(Endpoint::of_region(&Region::parse(region).expect("a region")).as_str(), url);
        }
    }

    #[test]
    fn a_request_goes_in_clear_text_to_this_machine_only() {
        for (text, authority) in [
            ("https://sts.example", "sts.example"),
            ("https://vpce-1.sts.eu-central-1.vpce.amazonaws.com:443/", "vpce-1.sts.eu-central-1.vpce.amazonaws.com"),
            ("http://127.0.0.1:4566", "127.0.0.1:4566"),
            ("http://localhost:4566/x", "localhost:4566"),
            ("http://[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(Endpoint::parse(text).expect("a valid endpoint").authority(), authority);
        }
        for text in [
            "",
            "sts.example",
            "ftp://sts.example",
            "http://sts.example",
            "http://localhost.evil.example",
            "http://10.0.0.1",
            "http://127.0.0.1.evil.example",
            "https://u:p@sts.example",
            "https://sts.example/?x=1",
            "https://",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
