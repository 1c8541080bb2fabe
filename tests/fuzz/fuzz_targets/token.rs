//! Any bytes as a session token: one word of visible ASCII, or no token.

#![no_main]

use imds_exporter::imds::SessionToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let word = body.trim_ascii();
    let is_token = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    assert_eq!(SessionToken::parse(body).is_some(), is_token);
});
