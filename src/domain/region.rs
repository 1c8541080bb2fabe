//! The name of an AWS region, and the domain names of its partition.
//!
//! Owns plain values. Must not know I/O.

use std::fmt;

/// The name of a region: lower-case letters, digits and hyphens, so that nothing but a region can get into a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

/// The domain names under which the services of a region are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsSuffixes {
    /// Over IPv4.
    pub ipv4: &'static str,
    /// Over IPv4 and IPv6.
    pub dual_stack: &'static str,
}

/// Those of the partition `aws`, and of a region of no known one, as for the SDKs.
const AWS: DnsSuffixes = DnsSuffixes { ipv4: "amazonaws.com", dual_stack: "api.aws" };

/// The other partitions, by the beginning of their regions' names. Source: `partitions.json` of botocore 1.44.8.
const PARTITIONS: &[(&str, DnsSuffixes)] = &[
    ("cn-", DnsSuffixes { ipv4: "amazonaws.com.cn", dual_stack: "api.amazonwebservices.com.cn" }),
    ("eusc-", DnsSuffixes { ipv4: "amazonaws.eu", dual_stack: "api.amazonwebservices.eu" }),
    ("us-iso-", DnsSuffixes { ipv4: "c2s.ic.gov", dual_stack: "api.aws.ic.gov" }),
    ("us-isob-", DnsSuffixes { ipv4: "sc2s.sgov.gov", dual_stack: "api.aws.scloud" }),
    ("eu-isoe-", DnsSuffixes { ipv4: "cloud.adc-e.uk", dual_stack: "api.cloud-aws.adc-e.uk" }),
    ("us-isof-", DnsSuffixes { ipv4: "csp.hci.ic.gov", dual_stack: "api.aws.hci.ic.gov" }),
];

impl Region {
    /// Parses the name of a region; it need not be one that exists.
    ///
    /// # Errors
    /// If it has other characters, or more than 32 of them.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.len() <= 32 && bytes.iter().copied().all(legal) && ends(bytes.first()) && ends(bytes.last()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a region such as eu-central-1")
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of the partition of China.
    pub(crate) fn is_in_china(&self) -> bool {
        self.0.starts_with("cn-")
    }

    /// The domain names under which the region's services are.
    pub(crate) fn dns_suffixes(&self) -> DnsSuffixes {
        PARTITIONS.iter().find(|(prefix, _)| self.0.starts_with(prefix)).map_or(AWS, |(_, suffixes)| *suffixes)
    }

    /// Whether it belongs to the partition `aws-us-gov`.
    pub(crate) fn is_of_us_gov(&self) -> bool {
        self.0.starts_with("us-gov-")
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_nothing_but_a_label_of_a_host_name() {
        for good in ["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "aws-global", "x"] {
            assert!(Region::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(33);
        for bad in
            ["", "-", "us-east-1-", "US-EAST-1", "us.east", "x/", "x@evil", "evil.example#", "a b", "a\n", "ü", &long]
        {
            assert!(Region::parse(bad).is_err(), "{bad}");
        }
    }
}
