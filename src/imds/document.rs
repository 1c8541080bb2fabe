//! The documents: what they must hold, and nothing of what they hold beyond two instants.
//!
//! A secret is looked at for its presence and dropped at once, unless a signed call is due: then the document is read once
//! more, for its secrets alone. Errors are kinds only: `serde_json`'s own error texts quote the offending value.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::domain::{Kind, SigningCredentials};

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
pub fn parse_document(body: &[u8]) -> Result<Document, Kind> {
    let fields = fields::<Presence>(body).ok_or(Kind::MalformedDocument)?;
    match &fields.code {
        None => {}
        Some(Text::Some(code)) => match code.as_str() {
            "Success" => {}
            "AssumeRoleUnauthorizedAccess" => return Err(Kind::AssumeRoleDenied),
            "InstanceProfileNotFound" => return Err(Kind::ProfileNotFound),
            _ => return Err(Kind::Refused),
        },
        Some(Text::Unusable) => return Err(Kind::IncompleteDocument),
    }
    let secrets = [fields.access_key_id, fields.secret_access_key, fields.token];
    if secrets.iter().any(|presence| *presence != Some(Presence(true))) {
        return Err(Kind::IncompleteDocument);
    }
    let instant = |text: Text| match text {
        Text::Some(text) => text.parse::<Timestamp>().map_err(|_| Kind::InvalidTimestamp),
        Text::Unusable => Err(Kind::IncompleteDocument),
    };
    Ok(Document {
        expiration: fields.expiration.map_or(Err(Kind::IncompleteDocument), instant)?,
        last_updated: fields.last_updated.map(instant).transpose()?,
    })
}

/// The secrets of a document that [`parse_document`] has accepted.
#[must_use]
pub fn parse_signing_credentials(body: &[u8]) -> Option<SigningCredentials> {
    let fields = fields::<Secret>(body)?;
    Some(SigningCredentials {
        access_key_id: fields.access_key_id?.0?,
        secret_access_key: fields.secret_access_key?.0?,
        session_token: Some(fields.token?.0?),
    })
}

/// Why there is no role although there is an instance profile.
#[must_use]
pub fn parse_profile_info(body: &[u8]) -> Kind {
    match fields::<Presence>(body) {
        Some(Fields { code: Some(Text::Some(code)), .. }) if code == "InstanceProfileNotFound" => Kind::ProfileNotFound,
        Some(_) => Kind::ProfileWithoutRole,
        None => Kind::MalformedDocument,
    }
}

/// The text as a whole: `from_slice` would let bytes that are not UTF-8 pass in the fields that are skipped.
fn fields<S: FromValue>(body: &[u8]) -> Option<Fields<S>> {
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// What can be made of any JSON value.
trait FromValue: for<'a> From<&'a str> + From<Unusable> {}

impl<T: for<'a> From<&'a str> + From<Unusable>> FromValue for T {}

/// The fields that count, of the last occurrence each, as every SDK's parser has it. `S` is what becomes of a secret.
struct Fields<S> {
    code: Option<Text>,
    last_updated: Option<Text>,
    expiration: Option<Text>,
    access_key_id: Option<S>,
    secret_access_key: Option<S>,
    token: Option<S>,
}

impl<'de, S: FromValue> Deserialize<'de> for Fields<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<S>(PhantomData<S>);

        impl<'de, S: FromValue> Visitor<'de> for Object<S> {
            type Value = Fields<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<S>, A::Error> {
                let (code, last_updated, expiration) = (None, None, None);
                let (access_key_id, secret_access_key, token) = (None, None, None);
                let mut fields = Fields { code, last_updated, expiration, access_key_id, secret_access_key, token };
                while let Some(name) = map.next_key::<Name>()? {
                    match name {
                        Name::Code => fields.code = Some(map.next_value::<Value<_>>()?.0),
                        Name::LastUpdated => fields.last_updated = Some(map.next_value::<Value<_>>()?.0),
                        Name::Expiration => fields.expiration = Some(map.next_value::<Value<_>>()?.0),
                        Name::AccessKeyId => fields.access_key_id = Some(map.next_value::<Value<_>>()?.0),
                        Name::SecretAccessKey => fields.secret_access_key = Some(map.next_value::<Value<_>>()?.0),
                        Name::Token => fields.token = Some(map.next_value::<Value<_>>()?.0),
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[derive(Deserialize)]
enum Name {
    Code,
    LastUpdated,
    Expiration,
    AccessKeyId,
    SecretAccessKey,
    Token,
    #[serde(other)]
    Other,
}

/// A field that is no secret: its text, or that it is empty, null or of another type.
enum Text {
    Some(String),
    Unusable,
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.is_empty() { Self::Unusable } else { Self::Some(text.to_owned()) }
    }
}

impl From<Unusable> for Text {
    fn from(_: Unusable) -> Self {
        Self::Unusable
    }
}

/// A secret field: whether it is a string that is not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Presence(bool);

impl From<&str> for Presence {
    fn from(text: &str) -> Self {
        Self(!text.is_empty())
    }
}

impl From<Unusable> for Presence {
    fn from(_: Unusable) -> Self {
        Self(false)
    }
}

/// A secret field: its text, if it is a string.
struct Secret(Option<Zeroizing<String>>);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Some(Zeroizing::new(text.to_owned())))
    }
}

impl From<Unusable> for Secret {
    fn from(_: Unusable) -> Self {
        Self(None)
    }
}

/// Null, a number, a list, an object.
struct Unusable;

/// Takes any JSON value; the content of strings goes through `From<&str>`, everything else is [`Unusable`].
struct AnyValue<T>(PhantomData<T>);

impl<'de, T: FromValue> Visitor<'de> for AnyValue<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::from(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::from(Unusable))
    }

    fn visit_i64<E>(self, _: i64) -> Result<T, E> {
        Ok(T::from(Unusable))
    }

    fn visit_u64<E>(self, _: u64) -> Result<T, E> {
        Ok(T::from(Unusable))
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::from(Unusable))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::from(Unusable))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::from(Unusable))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(T::from(Unusable))
    }
}

/// What is made of a JSON value.
struct Value<T>(T);

impl<'de, T: FromValue> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC",
        "AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-01T06:30:00Z"}"#;

    fn kind(document: &str) -> Kind {
        parse_document(document.as_bytes()).expect_err("an invalid document")
    }

    fn with(field: &str, value: &str) -> String {
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(GOOD).expect("JSON");
        object.insert(field.to_owned(), serde_json::from_str(value).expect("JSON"));
        serde_json::to_string(&object).expect("JSON")
    }

    #[test]
    fn a_valid_document_has_an_expiration_and_a_last_update() {
        let document = parse_document(GOOD.as_bytes()).expect("a valid document");
        assert_eq!(document.expiration, "2026-01-01T06:30:00Z".parse().expect("an instant"));
        assert_eq!(document.last_updated, Some("2026-01-01T00:00:00Z".parse().expect("an instant")));
    }

    #[test]
    fn the_secrets_are_those_of_the_last_field_of_each_name() {
        let secrets = |document: &str| {
            let found = parse_signing_credentials(document.as_bytes())?;
            Some([
                found.access_key_id.to_string(),
                found.secret_access_key.to_string(),
                found.session_token?.to_string(),
            ])
        };
        assert_eq!(secrets(GOOD), Some(["ASIA", "s", "t"].map(str::to_owned)));
        let twice = GOOD.replacen('{', "{\"Token\":\"old\",", 1).replace("\"s\"", "\"s\\u002f\"");
        assert_eq!(secrets(&twice), Some(["ASIA", "s/", "t"].map(str::to_owned)));
        assert_eq!(secrets(&with("Token", "1")), None);
    }

    #[test]
    fn fields_that_no_sdk_needs_are_optional() {
        let moto =
            r#"{"AccessKeyId":"a","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-01T06:30:00.123456Z"}"#;
        assert_eq!(parse_document(moto.as_bytes()).expect("a valid document").last_updated, None);
    }

    #[test]
    fn a_wrong_field_is_incomplete_or_an_invalid_timestamp() {
        for field in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration", "LastUpdated", "Code"] {
            for value in ["\"\"", "null", "1", "-1.5", "true", "[\"x\"]", "{\"x\":{\"y\":[1]}}"] {
                assert_eq!(kind(&with(field, value)), Kind::IncompleteDocument, "{field} {value}");
            }
        }
        for field in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
            assert_eq!(kind(&GOOD.replace(field, "Other")), Kind::IncompleteDocument, "{field}");
        }
        for field in ["Expiration", "LastUpdated"] {
            for value in ["\"soon\"", "\"2026-01-01\"", "\"2026-13-01T00:00:00Z\"", "\"1767225600\""] {
                assert_eq!(kind(&with(field, value)), Kind::InvalidTimestamp, "{field} {value}");
            }
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
        for body in
            ["", "null", "[]", "1", "\"x\"", "<html>", &GOOD[..GOOD.len() - 1], &deep, &format!("{{\"x\":{deep}")]
        {
            assert_eq!(kind(body), Kind::MalformedDocument);
        }
        for body in [&b"{\"Token\":\"\xff\"}"[..], b"{\"Other\":\"\xff\"}"] {
            assert_eq!(parse_document(body).expect_err("not UTF-8"), Kind::MalformedDocument);
        }
    }

    #[test]
    fn the_last_of_two_equal_fields_is_used() {
        let twice = GOOD.replacen('{', "{\"Code\":\"Failed\",\"Token\":null,", 1);
        assert!(parse_document(twice.as_bytes()).is_ok());
    }

    #[test]
    fn profile_info_shows_why_there_is_no_role() {
        assert_eq!(parse_profile_info(b"{\"Code\":\"InstanceProfileNotFound\"}"), Kind::ProfileNotFound);
        assert_eq!(parse_profile_info(b"{\"Code\":\"Success\",\"Message\":\"\"}"), Kind::ProfileWithoutRole);
        assert_eq!(parse_profile_info(b"{}"), Kind::ProfileWithoutRole);
        assert_eq!(parse_profile_info(b"<html>"), Kind::MalformedDocument);
    }
}
