//! Any bytes as a credential document: an answer, and nothing of the document in it but two instants.

use imds_exporter::domain::Creation;
use imds_exporter::imds::{creation, parse_document};

/// The property.
pub(crate) fn check(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    let created = creation(text);
    match parse_document(text) {
        Ok(document) => {
            serde_json::from_slice::<serde::de::IgnoredAny>(body).expect("a document that is accepted is JSON");
            // What a stricter parser takes too, it takes in the same sense.
            let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else { return };
            assert!(json.is_object());
            let expiration = json["Expiration"].as_str().expect("a text");
            // The last day of year 9999 is later than the library's last instant.
            let again = expiration.parse::<jiff::Timestamp>().unwrap_or(jiff::Timestamp::MAX);
            assert_eq!(again, document.expiration);
            assert!(matches!(created, Creation::Credentials { .. } | Creation::Raises));
            for secret in ["AccessKeyId", "SecretAccessKey", "Token"] {
                assert!(json[secret].as_str().is_some_and(|text| !text.is_empty()), "{secret} was not looked at");
            }
        }
        // A kind has a label of its own; no error has room for a byte of the document.
        Err(kind) => assert!(!kind.label().is_empty()),
    }
}
