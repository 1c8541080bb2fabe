//! Credential documents with made-up secrets, and `iam/info`.
//!
//! Owns what the documents say, right or wrong, and when a newer one comes. Must not know HTTP.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::change::Rotation;
use super::fault::Fault;
use super::settings::Settings;
use super::signature::Secrets;
use super::variant::{Field, Variant};
use crate::domain::{Credential, Kind, RoleName};

/// Every made-up access key id begins so.
pub const KEY_ID_PREFIX: &str = "ASIASIMULATED";
/// Every made-up secret access key begins so.
pub const SECRET_KEY_PREFIX: &str = "simulated-secret-access-key";
/// Every made-up security token of a credential document begins so.
pub const CREDENTIAL_TOKEN_PREFIX: &str = "simulated-security-token";

/// The credentials in force.
#[derive(Clone, Debug)]
pub(super) struct Document {
    role: RoleName,
    serial: u32,
    /// From here the time to the next rotation counts; `last_updated` may be set back to fit a short time left.
    issued: Timestamp,
    last_updated: Timestamp,
    expiration: Timestamp,
}

impl Document {
    /// The first one.
    pub(super) fn first(settings: &Settings, now: Timestamp) -> Self {
        let now = whole_seconds(now);
        Self {
            role: settings.role.clone(),
            serial: 1,
            issued: now,
            last_updated: now,
            expiration: later(now, settings.lifetime),
        }
    }

    /// A newer one, made at `at`.
    pub(super) fn renew(&mut self, settings: &Settings, at: Timestamp) {
        // Two documents of one second would not be told apart.
        let next = later(self.last_updated, Duration::from_secs(1));
        let at = whole_seconds(at);
        *self = Self { serial: self.serial.wrapping_add(1), ..Self::first(settings, at) };
        self.last_updated = at.max(next);
        self.expiration = later(self.last_updated, settings.lifetime);
    }

    /// One that has this much time left, as if it had been made a lifetime before its end.
    pub(super) fn expire_in(&mut self, left: SignedDuration, settings: &Settings, now: Timestamp) {
        self.renew(settings, now);
        self.expiration = whole_seconds(now.saturating_add(left).expect("a duration never fails"));
        self.last_updated = self.issued.min(earlier(self.expiration, settings.lifetime));
    }

    /// Makes the newer one that is due by `now`, if one is.
    pub(super) fn rotate_when_due(&mut self, settings: &Settings, now: Timestamp) {
        let Rotation::Every(period) = settings.rotation else { return };
        let age = now.duration_since(self.issued).as_secs();
        let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
        if age >= period {
            let due = self.issued.saturating_add(SignedDuration::from_secs(age - age % period));
            self.renew(settings, due.expect("a duration never fails"));
        }
    }

    /// What a client may know of it.
    pub(super) fn credential(&self) -> Credential {
        Credential { role: self.role.clone(), last_updated: Some(self.last_updated), expiration: self.expiration }
    }

    pub(super) const fn role(&self) -> &RoleName {
        &self.role
    }

    /// The text of the document, wrong where the fault is about it.
    pub(super) fn text(&self, fault: Option<Fault>) -> String {
        let Some(fault) = fault else { return listing(&self.fields()) };
        match (fault.kind(), fault.variant()) {
            (Kind::AssumeRoleDenied, _) => listing(&self.refusal(
                "AssumeRoleUnauthorizedAccess",
                &format!("EC2 cannot assume the role {}.  Please see documentation on IAM troubleshooting.", self.role),
            )),
            (Kind::ProfileNotFound, Some(Variant::Document)) => listing(
                &self.refusal("InstanceProfileNotFound", "The instance profile of this instance does not exist."),
            ),
            // botocore takes such a document for good, so all its fields are there.
            (Kind::Refused, _) => listing(&self.with(Field::Code, Some(&json!("Failed")))),
            (Kind::MalformedDocument, Some(variant)) => self.malformed(variant),
            (Kind::IncompleteDocument, variant) => {
                let field = fault.field().unwrap_or(Field::SecretAccessKey);
                let wrong = match variant {
                    Some(Variant::Empty) => Some(json!("")),
                    Some(Variant::Null) => Some(Value::Null),
                    Some(Variant::Number) => Some(json!(42)),
                    Some(Variant::Object) => Some(json!({ "Nested" : "value" })),
                    _ => None,
                };
                listing(&self.with(field, wrong.as_ref()))
            }
            (Kind::InvalidTimestamp, Some(Variant::LastUpdated)) => {
                listing(&self.with(Field::LastUpdated, Some(&json!("a while ago"))))
            }
            (Kind::InvalidTimestamp, _) => listing(&self.with(Field::Expiration, Some(&json!("in six hours")))),
            _ => listing(&self.fields()),
        }
    }

    /// The text of `iam/info`.
    pub(super) fn profile_info(&self, fault: Option<Fault>) -> String {
        let mut fields = vec![
            ("Code", json!("Success")),
            ("LastUpdated", json!(self.last_updated.to_string())),
            ("InstanceProfileArn", json!("arn:aws:iam::123456789012:instance-profile/simulated-profile")),
            ("InstanceProfileId", json!("AIPASIMULATEDPROFILE0")),
        ];
        match fault.map(|fault| fault.kind()) {
            Some(Kind::ProfileNotFound) => fields[0].1 = json!("InstanceProfileNotFound"),
            Some(Kind::ProfileWithoutRole) => fields.push((
                "Message",
                json!("Instance Profile does not contain a role.  Please see documentation on IAM troubleshooting."),
            )),
            _ => {}
        }
        listing(&fields)
    }

    pub(super) fn secrets(&self) -> Secrets {
        let serial = self.serial;
        Secrets {
            key_id: format!("{KEY_ID_PREFIX}{serial:07}"),
            secret_key: format!("{SECRET_KEY_PREFIX}-{serial:07}"),
            token: format!("{CREDENTIAL_TOKEN_PREFIX}-{serial:07}=="),
        }
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let Secrets { key_id, secret_key, token } = self.secrets();
        vec![
            (Field::Code.label(), json!("Success")),
            (Field::LastUpdated.label(), json!(self.last_updated.to_string())),
            ("Type", json!("AWS-HMAC")),
            (Field::AccessKeyId.label(), json!(key_id)),
            (Field::SecretAccessKey.label(), json!(secret_key)),
            (Field::Token.label(), json!(token)),
            (Field::Expiration.label(), json!(self.expiration.to_string())),
        ]
    }

    fn with(&self, field: Field, value: Option<&Value>) -> Vec<(&'static str, Value)> {
        let fields = self.fields().into_iter();
        let changed =
            fields.map(|(name, right)| (name, if name == field.label() { value.cloned() } else { Some(right) }));
        changed.filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn refusal(&self, code: &str, message: &str) -> Vec<(&'static str, Value)> {
        let updated = json!(self.last_updated.to_string());
        vec![("Code", json!(code)), ("Message", json!(message)), ("LastUpdated", updated)]
    }

    fn malformed(&self, variant: Variant) -> String {
        let mut text = listing(&self.fields());
        match variant {
            Variant::Html => format!("<!DOCTYPE html>\n<html><body><pre>{text}</pre></body></html>\n"),
            Variant::Array => format!("[{text}]"),
            Variant::Number => "42".to_owned(),
            // Half a document still has the secrets, which must not leak on the way to the error.
            _ => {
                text.truncate(text.find("\"Expiration\"").unwrap_or(text.len()));
                text
            }
        }
    }
}

/// JSON the way IMDS writes it.
fn listing(fields: &[(&str, Value)]) -> String {
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("  \"{name}\" : {value}")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.saturating_add(span).expect("a duration never fails")
}

fn earlier(at: Timestamp, span: Duration) -> Timestamp {
    at.saturating_sub(span).expect("a duration never fails")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("it is an instant")
    }

    #[test]
    fn documents_rotate_at_whole_periods() {
        let settings = Settings::default();
        let mut document = Document::first(&settings, at("2026-01-31T12:00:00.5Z"));
        for (now, last_updated) in [
            ("2026-01-31T12:59:59Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T13:00:00Z", "2026-01-31T13:00:00Z"),
            ("2026-01-31T16:30:00Z", "2026-01-31T16:00:00Z"),
            // A clock that jumps back does not rotate the document.
            ("2026-01-31T11:00:00Z", "2026-01-31T16:00:00Z"),
        ] {
            document.rotate_when_due(&settings, at(now));
            assert_eq!(document.credential().last_updated, Some(at(last_updated)), "{now}");
        }
        let off = Settings { rotation: Rotation::Off, ..settings };
        document.rotate_when_due(&off, at("2026-02-10T00:00:00Z"));
        assert_eq!(document.credential().last_updated, Some(at("2026-01-31T16:00:00Z")));
    }

    #[test]
    fn a_document_that_expires_soon_looks_old_and_stays_for_a_period() {
        let settings = Settings::default();
        let now = at("2026-01-31T12:00:00Z");
        let mut document = Document::first(&settings, now);
        document.expire_in(SignedDuration::from_mins(10), &settings, now);
        document.rotate_when_due(&settings, at("2026-01-31T12:59:00Z"));
        let old = document.credential();
        assert_eq!(old.expiration, at("2026-01-31T12:10:00Z"));
        assert_eq!(old.last_updated, Some(at("2026-01-31T05:36:00Z")));
        document.rotate_when_due(&settings, at("2026-01-31T13:00:00Z"));
        assert!(document.credential().is_newer_than(&old));
    }

    #[test]
    fn documents_created_within_one_second_differ() {
        let settings = Settings::default();
        let now = at("2026-01-31T12:00:00Z");
        let mut document = Document::first(&settings, now);
        let (first, text) = (document.credential(), document.text(None));
        document.renew(&settings, now);
        assert!(document.credential().is_newer_than(&first));
        assert_ne!(document.text(None), text);
    }
}
