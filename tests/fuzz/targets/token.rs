//! Any bytes as a session token: one word of visible ASCII, or at least nothing that ends a header.

use imds_exporter::imds::SessionToken;

/// The property.
pub(crate) fn check(body: &[u8]) {
    let is_token = !body.is_empty() && body.iter().all(u8::is_ascii_graphic);
    let token = SessionToken::parse(body);
    assert_eq!(token.as_ref().is_ok_and(SessionToken::is_one_line), is_token);
    // No header can be ended by a token.
    assert!(token.is_err() || !body.iter().any(|c| matches!(c, b'\r' | b'\n' | b'\0')));
}
