//! The session token: a secret that lives for one poll, in a type that never shows it.

use reqwest::header::HeaderValue;

/// The lifetime that is asked for, in seconds: a token is used for one poll only.
pub(super) const TOKEN_TTL_SECONDS: u64 = 60;

pub(super) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
pub(super) const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// The session token that IMDS returns for a `PUT`. It has no `Debug`, `Display` or serialization.
pub struct SessionToken(HeaderValue);

impl SessionToken {
    /// Parses one line of visible ASCII; anything else is no token.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let token = body.trim_ascii();
        let visible = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
        let mut value = HeaderValue::from_bytes(token).ok().filter(|_| visible)?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// A token that is not one.
    pub(super) const fn made_up(text: &'static str) -> Self {
        Self(HeaderValue::from_static(text))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_visible_ascii() {
        assert!(SessionToken::parse(b"AQAEAKx_-==").is_some());
        assert!(SessionToken::parse(b"AQAE\n").is_some());
        for bad in [&b""[..], b"\n", b"a b", b"a\nb", b"<html> </html>", b"\xff\xfe", b"a\0b"] {
            assert!(SessionToken::parse(bad).is_none());
        }
    }

    #[test]
    fn its_header_is_sensitive() {
        let token = SessionToken::parse(b"canary").expect("a legal token");
        assert!(!format!("{:?}", token.header()).contains("canary"));
    }
}
