//! The address of STS.

use std::net::IpAddr;

use reqwest::Url;

use crate::domain::Region;
use crate::platform::service_url::ServiceUrl;

/// Which of its addresses in a region STS is asked at, as botocore is told by `AWS_USE_FIPS_ENDPOINT`,
/// `AWS_USE_DUALSTACK_ENDPOINT` and `AWS_STS_REGIONAL_ENDPOINTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The one with validated cryptography.
    pub fips: bool,
    /// The one with IPv6.
    pub dual_stack: bool,
    /// The global one for the regions of `GLOBAL`.
    pub legacy: bool,
}

/// The regions that had the global endpoint before there were regional ones, and the region of that itself.
/// Source: the endpoint rules of STS in botocore 1.44.8.
const GLOBAL: [&str; 16] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "aws-global",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// The region for which calls to the global endpoint are signed.
const GLOBAL_SIGNS_FOR: &str = "us-east-1";

/// Where STS is: an `https` URL, or an `http` URL of this machine, without user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(ServiceUrl);

impl Endpoint {
    /// The endpoint for credentials of a region, and the region for which calls to it are signed.
    /// Source: the endpoint rules of STS in botocore 1.44.8.
    #[must_use]
    pub fn of_region(region: &Region, choice: Choice) -> (Self, Region) {
        let Choice { fips, dual_stack, legacy } = choice;
        let of_all = region.as_str() == "aws-global";
        let is_global = !fips && !dual_stack && (of_all || legacy && GLOBAL.contains(&region.as_str()));
        let suffixes = region.dns_suffixes();
        let suffix = if dual_stack { suffixes.dual_stack } else { suffixes.ipv4 };
        // All of AWS GovCloud is validated.
        let service = if fips && (dual_stack || !region.is_of_us_gov()) { "sts-fips" } else { "sts" };
        let url = if is_global {
            "https://sts.amazonaws.com/".to_owned()
        } else {
            format!("https://{service}.{region}.{suffix}/")
        };
        let signed_for = if is_global || of_all {
            Region::parse(GLOBAL_SIGNS_FOR).expect("a literal that tests parse")
        } else {
            region.clone()
        };
        (Self::parse(&url).expect("a region is a label of a host name"), signed_for)
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

    /// A few; the tests with boto3 compare all choices in all partitions with botocore's own.
    #[test]
    fn a_region_has_the_endpoint_of_its_partition_and_of_the_choice() {
        let (plain, fips) = (Choice::default(), Choice { fips: true, ..Choice::default() });
        let dual_stack = Choice { dual_stack: true, ..Choice::default() };
        let legacy = Choice { legacy: true, ..Choice::default() };
        for (region, choice, url, signed_for) in [
            ("eu-central-1", plain, "https://sts.eu-central-1.amazonaws.com/", "eu-central-1"),
            ("cn-north-1", plain, "https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1"),
            ("xx-new-1", plain, "https://sts.xx-new-1.amazonaws.com/", "xx-new-1"),
            ("us-east-1", fips, "https://sts-fips.us-east-1.amazonaws.com/", "us-east-1"),
            ("us-gov-west-1", fips, "https://sts.us-gov-west-1.amazonaws.com/", "us-gov-west-1"),
            ("us-iso-east-1", dual_stack, "https://sts.us-iso-east-1.api.aws.ic.gov/", "us-iso-east-1"),
            ("eu-central-1", legacy, "https://sts.amazonaws.com/", "us-east-1"),
            ("eu-south-1", legacy, "https://sts.eu-south-1.amazonaws.com/", "eu-south-1"),
        ] {
            let (endpoint, region) = Endpoint::of_region(&Region::parse(region).expect("a region"), choice);
            assert_eq!((endpoint.as_str(), region.as_str()), (url, signed_for));
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
