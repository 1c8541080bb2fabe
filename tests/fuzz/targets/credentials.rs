//! Any bytes as a credential document: an answer, and nothing of the document in it but two instants.

use imds_exporter::imds::parse_document;

/// The property.
pub(crate) fn check(body: &[u8]) {
    match parse_document(body) {
        Ok(document) => {
            serde_json::from_slice::<serde::de::IgnoredAny>(body).expect("a document that is accepted is JSON");
            // What a stricter parser takes too, it takes in the same sense.
            let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else { return };
            assert!(json.is_object());
            let again: jiff::Timestamp = json["Expiration"].as_str().expect("a text").parse().expect("an instant");
            assert_eq!(again, document.expiration);
            for secret in ["AccessKeyId", "SecretAccessKey", "Token"] {
                assert!(json[secret].as_str().is_some_and(|text| !text.is_empty()), "{secret} was not looked at");
            }
        }
        // A kind has a label of its own; no error has room for a byte of the document.
        Err(kind) => assert!(!kind.label().is_empty()),
    }
}
