//! Any bytes as the answer of `iam/info`: one of three kinds.

use imds_exporter::domain::Kind;
use imds_exporter::imds::parse_profile_info;

/// The property.
pub(crate) fn check(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    let kind = parse_profile_info(text);
    assert!(matches!(kind, Kind::ProfileNotFound | Kind::ProfileWithoutRole | Kind::MalformedDocument));
    // What is not JSON is never taken for an answer of IMDS.
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        assert_eq!(kind, Kind::MalformedDocument);
    }
}
