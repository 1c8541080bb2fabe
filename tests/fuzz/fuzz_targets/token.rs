//! Any bytes as a session token, with any lifetime: a header that can be sent, or no token; never shown.

#![no_main]

use std::time::Duration;

use imds_exporter::platform::clock::monotonic;
use imds_exporter::imds::{Session, SessionToken};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<u64>, &[u8])| {
    let (ttl_seconds, body) = input;
    let Some(token) = SessionToken::parse(body) else { return };
    assert!(body.trim_ascii().iter().all(u8::is_ascii_graphic));
    // The same is shown of every token.
    assert_eq!(format!("{token:?}"), "SessionToken(redacted)");
    let now = monotonic();
    let session = Session::new(token, ttl_seconds.map(Duration::from_secs), now);
    assert_eq!(session.is_fresh(now), ttl_seconds.is_none_or(|seconds| seconds > 0));
    assert!(!session.is_fresh(now + Duration::from_hours(6)));
});
