//! The session token: a secret that lives for one poll, in a type that never shows it.

use std::ops::RangeInclusive;

use hyper::header::HeaderValue;

use super::text::Charset;
use crate::domain::Creation;

/// The lifetimes that may be asked for, in seconds. A token is used for one poll only, and lives at least as long.
pub(super) const TTL_SECONDS: RangeInclusive<u64> = 60..=21_600;

pub(super) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
pub(super) const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// What boto3 takes for a session token, which is whatever IMDS returns for a `PUT`. It has no `Debug`, `Display` or
/// serialization.
pub struct SessionToken {
    value: HeaderValue,
    is_one_line: bool,
}

impl SessionToken {
    /// Takes a body for a token, as boto3 does.
    ///
    /// # Errors
    /// What happens to the client that boto3 creates where it cannot be sent.
    pub fn parse(body: &[u8]) -> Result<Self, Creation> {
        Self::decoded(body, Charset::Latin1)
    }

    pub(super) fn decoded(body: &[u8], charset: Charset) -> Result<Self, Creation> {
        let text = match (charset, charset.decode(body)) {
            (_, Some(text)) => text,
            (Charset::Other, None) => return Err(Creation::Unknown),
            (_, None) => return Err(Creation::Raises),
        };
        // Python's HTTP library encodes a header as Latin-1, and takes a new line in it only where a blank follows.
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        let bytes = bytes.map_err(|_| Creation::Raises)?;
        let ends_header = |at: usize| match (bytes[at], bytes.get(at + 1)) {
            (b'\n', next) => !matches!(next, Some(b' ' | b'\t')),
            (b'\r', next) => !matches!(next, Some(b' ' | b'\t' | b'\n')),
            _ => false,
        };
        if (0..bytes.len()).any(ends_header) {
            return Err(Creation::Raises);
        }
        // Other control characters: boto3 sends them, and what comes of that is known to the server alone.
        let mut value = HeaderValue::from_bytes(&bytes).map_err(|_| Creation::Unknown)?;
        value.set_sensitive(true);
        Ok(Self { value, is_one_line: !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic) })
    }

    /// A token that is not one.
    pub(super) const fn made_up(text: &'static str) -> Self {
        Self { value: HeaderValue::from_static(text), is_one_line: true }
    }

    /// Whether it looks like a token: one line of visible ASCII.
    #[must_use]
    pub fn is_one_line(&self) -> bool {
        self.is_one_line
    }

    /// Whether it is empty: boto3 counts that as none where IMDSv1 is disabled.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As boto3 1.20 to 1.44 do.
    #[test]
    fn a_token_is_what_can_be_sent_as_a_header() {
        for (body, is_one_line) in [
            (&b"AQAEAKx_-=="[..], true),
            (b"", false),
            (b" \t ", false),
            (b" AQAE", false),
            (b"a b", false),
            (b"a\xe9", false),
            (b"<html> </html>", false),
        ] {
            let token = SessionToken::parse(body).expect("boto3 sends it");
            assert_eq!(token.is_one_line(), is_one_line, "{body:?}");
        }
        for body in [&b"AQAE\n"[..], b"\n", b"a\nb", b"a\r\n", b"a\rb", b"<html>\n</html>", b"a\n b\nc"] {
            assert_eq!(SessionToken::parse(body).err(), Some(Creation::Raises), "{body:?}");
        }
        for body in [&b"a\0b"[..], b"a\x01", b"a\x7f", b"<html>\n <body>\r\n\t</html>"] {
            assert_eq!(SessionToken::parse(body).err(), Some(Creation::Unknown), "{body:?}");
        }
        assert_eq!(SessionToken::decoded(b"a\xe9", Charset::Utf8).err(), Some(Creation::Raises));
        assert_eq!(SessionToken::decoded("€".as_bytes(), Charset::Utf8).err(), Some(Creation::Raises));
        assert_eq!(SessionToken::decoded(b"a", Charset::Other).err(), Some(Creation::Unknown));
    }

    #[test]
    fn its_header_is_sensitive() {
        let token = SessionToken::parse(b"canary").expect("a legal token");
        assert!(!format!("{:?}", token.header()).contains("canary"));
    }
}
