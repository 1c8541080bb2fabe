//! Any bytes as a session token: one word of visible ASCII, or no token.

use imds_exporter::imds::SessionToken;

/// The property.
pub(crate) fn check(body: &[u8]) {
    let word = body.trim_ascii();
    let is_token = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    assert_eq!(SessionToken::parse(body).is_some(), is_token);
}
