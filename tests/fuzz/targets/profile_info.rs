//! Any bytes as the answer of `iam/info`: one of three kinds.

use imds_exporter::domain::Kind;
use imds_exporter::imds::parse_profile_info;

/// The property.
pub(crate) fn check(body: &[u8]) {
    let kind = parse_profile_info(body);
    assert!(matches!(kind, Kind::ProfileNotFound | Kind::ProfileWithoutRole | Kind::MalformedDocument));
    // What is not JSON is never taken for an answer of IMDS.
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        assert_eq!(kind, Kind::MalformedDocument);
    }
}
