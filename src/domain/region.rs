//! The name of an AWS region, and the domain names of its partition.
//!
//! Owns plain values. Must not know I/O.

use std::fmt;

/// The name of a region: lower-case letters, digits and hyphens, so that nothing but a region can get into a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

/// The text is no name of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRegion;

impl fmt::Display for InvalidRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a region such as eu-central-1")
    }
}

impl std::error::Error for InvalidRegion {}

/// The partitions whose domain name is not that of `aws`, by the beginning of their regions' names.
/// Source: `partitions.json` of botocore 1.44.5.
const DNS_SUFFIXES: &[(&str, &str)] = &[
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
];

impl Region {
    /// Parses the name of a region; it need not be one that exists.
    ///
    /// # Errors
    /// If it has other characters, or more than 32 of them.
    pub fn parse(text: &str) -> Result<Self, InvalidRegion> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.len() <= 32 && bytes.iter().copied().all(legal) && ends(bytes.first()) && ends(bytes.last()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRegion)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of the partition of China.
    #[must_use]
    pub fn is_in_china(&self) -> bool {
        self.0.starts_with("cn-")
    }

    /// The domain name under which the region's services are. A region of no known partition counts as one of `aws`, as for
    /// the SDKs.
    #[must_use]
    pub fn dns_suffix(&self) -> &'static str {
        let known = DNS_SUFFIXES.iter().find(|(prefix, _)| self.0.starts_with(prefix));
        known.map_or("amazonaws.com", |(_, suffix)| suffix)
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
            assert_eq!(Region::parse(bad), Err(InvalidRegion), "{bad}");
        }
    }
}
