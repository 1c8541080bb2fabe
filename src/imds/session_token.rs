//! The session token: the only secret that is kept, in one type that never shows it.
//!
//! Owns its lifetime. Must not know which requests use it.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

/// The longest that IMDS grants. Source: EC2 user guide, "Use IMDSv2".
pub(super) const TOKEN_TTL: Duration = Duration::from_hours(6);

pub(super) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
pub(super) const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// The longest time that a token is used. botocore asks for a new one at each resolution: with an old token the exporter
/// would not notice that the hop limit was lowered or the token request forbidden.
const RENEWED_AFTER: Duration = Duration::from_mins(5);

/// The session token that IMDS returns for a `PUT`.
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

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(redacted)")
    }
}

/// A session token and when it must be renewed.
#[derive(Debug)]
pub struct Session {
    token: SessionToken,
    renewed_at: Instant,
}

impl Session {
    /// `ttl` is what IMDS granted, counted from before the request; if IMDS does not say (emulators), it is what was
    /// requested.
    #[must_use]
    pub fn new(token: SessionToken, ttl: Option<Duration>, asked_at: Instant) -> Self {
        let ttl = ttl.unwrap_or(TOKEN_TTL).min(TOKEN_TTL);
        // A short-lived token is used for half its life, so that it cannot expire during a request.
        Self { token, renewed_at: asked_at + RENEWED_AFTER.min(ttl / 2) }
    }

    /// Whether the token may still be used.
    #[must_use]
    pub fn is_fresh(&self, at: Instant) -> bool {
        at < self.renewed_at
    }

    pub(super) fn token(&self) -> &SessionToken {
        &self.token
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
    fn a_token_is_renewed_before_it_expires() {
        let now = crate::platform::clock::monotonic();
        let fresh_for = |ttl: Option<u64>| {
            let token = SessionToken::parse(b"t").expect("a valid token");
            Session::new(token, ttl.map(Duration::from_secs), now).renewed_at - now
        };
        assert_eq!(fresh_for(Some(21_600)).as_secs(), 300);
        assert_eq!(fresh_for(None).as_secs(), 300);
        assert_eq!(fresh_for(Some(u64::MAX)).as_secs(), 300);
        assert_eq!(fresh_for(Some(60)).as_secs(), 30);
        assert_eq!(fresh_for(Some(0)).as_secs(), 0);
    }

    #[test]
    fn debug_output_shows_no_token() {
        let token = SessionToken::parse(b"canary").expect("a valid token");
        let session = Session::new(token, None, crate::platform::clock::monotonic());
        assert!(!format!("{session:?}").contains("canary"));
    }
}
