//! The documents: what they must hold, what boto3 makes of them, and nothing of what they hold beyond two instants.
//!
//! A secret is looked at for its presence and dropped at once, unless a signed call is due: then the document is read once
//! more, for its secrets alone. Errors are kinds only: `serde_json`'s own error texts quote the offending value.

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::expiration::Expiration;
use crate::domain::{Creation, Kind, SigningCredentials};

/// What boto3 asks a document for.
const REQUIRED: [&str; 4] = ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"];

/// What is kept of a credential document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document {
    /// `LastUpdated`; emulators leave it out.
    pub last_updated: Option<Timestamp>,
    /// `Expiration`.
    pub expiration: Timestamp,
}

/// Checks a credential document. A missing `Code` counts as `Success`, as the SDKs have it.
///
/// # Errors
/// The kind of what is wrong with it.
pub fn parse_document(text: &str) -> Result<Document, Kind> {
    let fields = object(text).ok_or(Kind::MalformedDocument)?;
    match fields.get("Code").map(text_of) {
        None => {}
        Some(None) => return Err(Kind::IncompleteDocument),
        Some(Some(code)) if code.eq_ignore_ascii_case("Success") => {}
        Some(Some("AssumeRoleUnauthorizedAccess")) => return Err(Kind::AssumeRoleDenied),
        Some(Some("InstanceProfileNotFound")) => return Err(Kind::ProfileNotFound),
        Some(Some(_)) => return Err(Kind::Refused),
    }
    if REQUIRED.iter().any(|name| fields.get(*name).and_then(text_of).is_none()) {
        return Err(Kind::IncompleteDocument);
    }
    let instant = |value: &Value| match text_of(value) {
        Some(text) => Expiration::parse(text).instant.ok_or(Kind::InvalidTimestamp),
        None => Err(Kind::IncompleteDocument),
    };
    Ok(Document {
        expiration: instant(&fields["Expiration"])?,
        last_updated: fields.get("LastUpdated").map(instant).transpose()?,
    })
}

/// What happens to a client that boto3 creates with this document.
#[must_use]
pub fn creation(text: &str) -> Creation {
    let Some(fields) = object(text) else { return creation_without_object(text) };
    if REQUIRED.iter().any(|name| !fields.contains_key(*name)) {
        return Creation::Nothing;
    }
    // Python's "not".
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    };
    match (&fields["AccessKeyId"], &fields["SecretAccessKey"], &fields["Token"], &fields["Expiration"]) {
        (_, _, _, Value::String(expiration)) => match Expiration::parse(expiration).creation {
            // Each call raises a TypeError or AttributeError until the credentials are refreshed.
            Creation::Credentials { .. } if !fields["AccessKeyId"].is_string() => Creation::Unusable,
            Creation::Credentials { .. } if !fields["Token"].is_string() && !is_nothing(&fields["Token"]) => {
                Creation::Unusable
            }
            // Newer versions sign with the text of any value.
            _ if !fields["SecretAccessKey"].is_string() => Creation::Unknown,
            creation => creation,
        },
        _ => Creation::Raises,
    }
}

/// What boto3 makes of a body that is not a JSON object, or none that can be read here.
fn creation_without_object(text: &str) -> Creation {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let elements: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let has_all = |is_in: &dyn Fn(&str) -> bool| REQUIRED.iter().all(|name| is_in(name));
    let of_python_alone = ["NaN", "Infinity"].iter().any(|number| text.contains(number));
    match text.trim_start().bytes().next() {
        _ if of_python_alone => Creation::Unknown,
        _ if !is_json => Creation::Nothing,
        // Too deep, or with a number or a character that Python reads.
        Some(b'{') => Creation::Unknown,
        // Python finds a name in a list if it is an element, and in a string if it is a part; then it looks up a key.
        Some(b'[') if has_all(&|name| elements.iter().any(|element| element == name)) => Creation::Raises,
        Some(b'"') if has_all(&|name| text.contains(name)) => Creation::Raises,
        Some(b'[' | b'"') => Creation::Nothing,
        _ => Creation::Raises,
    }
}

/// The secrets of a document that [`parse_document`] has accepted.
pub(super) fn parse_signing_credentials(text: &str) -> Option<SigningCredentials> {
    let fields = object(text)?;
    let secret = |name| fields.get(name).and_then(Value::as_str).map(|text| Zeroizing::new(text.to_owned()));
    Some(SigningCredentials {
        access_key_id: secret("AccessKeyId")?,
        secret_access_key: secret("SecretAccessKey")?,
        session_token: Some(secret("Token")?),
    })
}

/// Passes the id of the key to `hash`; it is kept no longer.
pub(super) fn access_key_id<T>(text: &str, hash: impl FnOnce(&str) -> T) -> Option<T> {
    Some(hash(object(text)?.get("AccessKeyId")?.as_str()?))
}

/// Why there is no role although there is an instance profile.
#[must_use]
pub fn parse_profile_info(text: &str) -> Kind {
    match object(text) {
        Some(fields) if fields.get("Code").and_then(text_of) == Some("InstanceProfileNotFound") => {
            Kind::ProfileNotFound
        }
        Some(_) => Kind::ProfileWithoutRole,
        None => Kind::MalformedDocument,
    }
}

/// The fields of a JSON object; of equal ones the last, as every SDK's parser has it.
fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

/// A text that is not empty.
fn text_of(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC",
        "AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-01T06:30:00Z"}"#;

    fn good() -> Creation {
        Creation::Credentials { expiration: "2026-01-01T06:30:00Z".parse().expect("an instant") }
    }

    fn kind(document: &str) -> Kind {
        parse_document(document).expect_err("an invalid document")
    }

    fn with(field: &str, value: &str) -> String {
        let mut object = object(GOOD).expect("JSON");
        object.insert(field.to_owned(), serde_json::from_str(value).expect("JSON"));
        serde_json::to_string(&object).expect("JSON")
    }

    #[test]
    fn a_valid_document_has_an_expiration_and_a_last_update() {
        let document = parse_document(GOOD).expect("a valid document");
        assert_eq!(document.expiration, "2026-01-01T06:30:00Z".parse().expect("an instant"));
        assert_eq!(document.last_updated, Some("2026-01-01T00:00:00Z".parse().expect("an instant")));
        assert_eq!(creation(GOOD), good());
    }

    #[test]
    fn the_secrets_are_those_of_the_last_field_of_each_name() {
        let secrets = |document: &str| {
            let found = parse_signing_credentials(document)?;
            Some([found.access_key_id, found.secret_access_key, found.session_token?].map(|secret| secret.to_string()))
        };
        assert_eq!(secrets(GOOD), Some(["ASIA", "s", "t"].map(str::to_owned)));
        assert_eq!(access_key_id(GOOD, str::to_owned).as_deref(), Some("ASIA"));
        let twice = GOOD.replacen('{', "{\"Token\":\"old\",", 1).replace("\"s\"", "\"s\\u002f\"");
        assert_eq!(secrets(&twice), Some(["ASIA", "s/", "t"].map(str::to_owned)));
        assert_eq!(secrets(&with("Token", "1")), None);
    }

    #[test]
    fn fields_that_no_sdk_needs_are_optional() {
        let moto =
            r#"{"AccessKeyId":"a","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-01T06:30:00.123456Z"}"#;
        assert_eq!(parse_document(moto).expect("a valid document").last_updated, None);
        assert!(parse_document(&with("Code", "\"success\"")).is_ok());
    }

    #[test]
    fn a_wrong_field_is_incomplete_or_an_invalid_timestamp() {
        for field in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration", "LastUpdated", "Code"] {
            for value in ["\"\"", "null", "1", "-1.5", "true", "[\"x\"]", "{\"x\":{\"y\":[1]}}"] {
                assert_eq!(kind(&with(field, value)), Kind::IncompleteDocument, "{field} {value}");
            }
        }
        for field in REQUIRED {
            assert_eq!(kind(&GOOD.replace(field, "Other")), Kind::IncompleteDocument, "{field}");
            assert_eq!(creation(&GOOD.replace(field, "Other")), Creation::Nothing, "{field}");
        }
        for field in ["Expiration", "LastUpdated"] {
            for value in ["\"soon\"", "\"2026-01-01\"", "\"2026-13-01T00:00:00Z\"", "\"1767225600\""] {
                assert_eq!(kind(&with(field, value)), Kind::InvalidTimestamp, "{field} {value}");
            }
        }
    }

    /// As boto3 1.20 to 1.44 do, run.
    #[test]
    fn boto3_takes_other_types_where_it_never_looks_at_them() {
        for (field, value, expected) in [
            ("Code", "\"Failed\"", good()),
            ("Code", "5", good()),
            ("LastUpdated", "null", good()),
            ("LastUpdated", "\"soon\"", good()),
            ("Token", "\"\"", good()),
            ("Token", "null", good()),
            ("Token", "[]", good()),
            ("Token", "0", good()),
            ("Token", "5", Creation::Unusable),
            ("Token", "{\"a\":1}", Creation::Unusable),
            ("AccessKeyId", "\"\"", good()),
            ("AccessKeyId", "null", Creation::Unusable),
            ("AccessKeyId", "[\"x\"]", Creation::Unusable),
            ("SecretAccessKey", "\"\"", good()),
            ("SecretAccessKey", "null", Creation::Unknown),
            ("Expiration", "null", Creation::Raises),
            ("Expiration", "1893456000", Creation::Raises),
            ("Expiration", "[]", Creation::Raises),
        ] {
            assert_eq!(creation(&with(field, value)), expected, "{field} {value}");
        }
    }

    #[test]
    fn each_code_has_its_kind() {
        for (code, expected) in [
            ("AssumeRoleUnauthorizedAccess", Kind::AssumeRoleDenied),
            ("InstanceProfileNotFound", Kind::ProfileNotFound),
            ("Failed", Kind::Refused),
        ] {
            assert_eq!(kind(&format!("{{\"Code\":\"{code}\"}}")), expected);
        }
    }

    #[test]
    fn a_body_that_is_not_an_object_is_malformed() {
        let deep = "[".repeat(100_000);
        let closed = format!("{deep}{}", "]".repeat(100_000));
        let lists_all = "[\"AccessKeyId\",\"SecretAccessKey\",\"Token\",\"Expiration\"]";
        let and = |more: &str| format!("{},\"x\":{more}}}", &GOOD[..GOOD.len() - 1]);
        for (body, expected) in [
            ("", Creation::Nothing),
            ("<html>", Creation::Nothing),
            ("[]", Creation::Nothing),
            (&format!("[{GOOD}]"), Creation::Nothing),
            ("\"x\"", Creation::Nothing),
            (&GOOD[..GOOD.len() - 1], Creation::Nothing),
            (&deep, Creation::Nothing),
            ("null", Creation::Raises),
            ("1", Creation::Raises),
            ("true", Creation::Raises),
            (lists_all, Creation::Raises),
            ("\"AccessKeyId, SecretAccessKey, Token, Expiration\"", Creation::Raises),
            (&and("NaN"), Creation::Unknown),
            (&and("-Infinity"), Creation::Unknown),
            (&and("1e999"), Creation::Unknown),
            (&and("\"\\ud800\""), Creation::Unknown),
            (&and(&closed), Creation::Unknown),
        ] {
            assert_eq!((kind(body), creation(body)), (Kind::MalformedDocument, expected), "{body:.99}");
        }
    }

    #[test]
    fn the_last_of_two_equal_fields_is_used() {
        let twice = GOOD.replacen('{', "{\"Code\":\"Failed\",\"Token\":null,", 1);
        assert!(parse_document(&twice).is_ok());
    }

    #[test]
    fn profile_info_shows_why_there_is_no_role() {
        assert_eq!(parse_profile_info("{\"Code\":\"InstanceProfileNotFound\"}"), Kind::ProfileNotFound);
        assert_eq!(parse_profile_info("{\"Code\":\"Success\",\"Message\":\"\"}"), Kind::ProfileWithoutRole);
        assert_eq!(parse_profile_info("{}"), Kind::ProfileWithoutRole);
        assert_eq!(parse_profile_info("<html>"), Kind::MalformedDocument);
    }
}
