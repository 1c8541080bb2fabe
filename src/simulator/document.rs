//! Credential documents with made-up secrets, and `iam/info`.
//!
//! Owns what the documents say, and when a newer one comes. Must not know why a document is wrong.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::Answer;
use super::signature::Secrets;
use crate::domain::{Credential, RoleName};

/// Every made-up access key id begins so.
pub const KEY_ID_PREFIX: &str = "ASIASIMULATED";
/// Every made-up secret access key begins so.
pub const SECRET_KEY_PREFIX: &str = "simulated-secret-access-key";
/// Every made-up security token of a credential document begins so.
pub const CREDENTIAL_TOKEN_PREFIX: &str = "simulated-security-token";

/// When the credentials are rotated automatically.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged, expecting = "neither \"off\" nor a period such as \"1h\"")]
pub enum Rotation {
    /// With this period.
    Every(#[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")] Duration),
    /// Never.
    Off(Off),
}

/// The word `off`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Off {
    /// Off.
    Off,
}

/// What credentials are made on.
pub(super) struct Terms {
    pub(super) role: RoleName,
    pub(super) lifetime: SignedDuration,
    pub(super) rotation: Rotation,
}

impl Default for Terms {
    /// As at EC2: a bit more than six hours, and newer ones each hour.
    fn default() -> Self {
        Self {
            role: RoleName::try_from("simulated-role".to_owned()).expect("it consists of letters and a hyphen"),
            lifetime: SignedDuration::from_mins(6 * 60 + 34),
            rotation: Rotation::Every(Duration::from_hours(1)),
        }
    }
}

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
    pub(super) fn first(terms: &Terms, now: Timestamp) -> Self {
        let now = whole_seconds(now);
        Self {
            role: terms.role.clone(),
            serial: 1,
            issued: now,
            last_updated: now,
            expiration: after(now, terms.lifetime),
        }
    }

    /// A newer one, made at `at`.
    pub(super) fn renew(&mut self, terms: &Terms, at: Timestamp) {
        // Two documents of one second would not be told apart.
        let next = after(self.last_updated, SignedDuration::from_secs(1));
        let at = whole_seconds(at);
        *self = Self { serial: self.serial.wrapping_add(1), ..Self::first(terms, at) };
        self.last_updated = at.max(next);
        self.expiration = after(self.last_updated, terms.lifetime);
    }

    /// One that has this much time left, as if it had been made a lifetime before its end.
    pub(super) fn expire_in(&mut self, left: SignedDuration, terms: &Terms, now: Timestamp) {
        self.renew(terms, now);
        self.expiration = whole_seconds(after(now, left));
        self.last_updated = self.issued.min(after(self.expiration, -terms.lifetime));
    }

    /// Makes the newer one that is due by `now`, if one is.
    pub(super) fn rotate_when_due(&mut self, terms: &Terms, now: Timestamp) {
        let Rotation::Every(period) = terms.rotation else { return };
        let age = now.duration_since(self.issued).as_secs();
        let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1);
        if age >= period {
            self.renew(terms, after(self.issued, SignedDuration::from_secs(age - age % period)));
        }
    }

    /// What a client may know of it.
    pub(super) fn credential(&self) -> Credential {
        Credential { role: self.role.clone(), last_updated: Some(self.last_updated), expiration: self.expiration }
    }

    pub(super) const fn role(&self) -> &RoleName {
        &self.role
    }

    /// The document, with these fields replaced by JSON; an empty text omits the field.
    pub(super) fn with<'a>(&self, replaced: impl IntoIterator<Item = (&'a str, &'a str)>) -> Answer {
        let mut fields = self.fields();
        for (name, json) in replaced {
            fields.retain(|(known, _)| *known != name || !json.is_empty());
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, value)) => json.clone_into(value),
                None if json.is_empty() => {}
                None => fields.push((name, json.to_owned())),
            }
        }
        Answer::text(200, listing(&fields))
    }

    /// The document as text, changed in this way.
    pub(super) fn edited(&self, edit: impl FnOnce(&str) -> String) -> Answer {
        Answer::text(200, edit(&listing(&self.fields())))
    }

    /// A document with a code in place of credentials.
    pub(super) fn refusal(&self, code: &str, message: &str) -> Answer {
        let updated = self.last_updated.to_string();
        Answer::text(
            200,
            listing(&[("Code", quoted(code)), ("Message", quoted(message)), ("LastUpdated", quoted(&updated))]),
        )
    }

    /// `iam/info`.
    pub(super) fn profile_info(&self, code: &str, message: Option<&str>) -> Answer {
        let mut fields = vec![
            ("Code", quoted(code)),
            ("LastUpdated", quoted(&self.last_updated.to_string())),
            ("InstanceProfileArn", quoted("arn:aws:iam::123456789012:instance-profile/simulated-profile")),
            ("InstanceProfileId", quoted("AIPASIMULATEDPROFILE0")),
        ];
        fields.extend(message.map(|message| ("Message", quoted(message))));
        Answer::text(200, listing(&fields))
    }

    pub(super) fn secrets(&self) -> Secrets {
        let serial = self.serial;
        Secrets {
            key_id: format!("{KEY_ID_PREFIX}{serial:07}"),
            secret_key: format!("{SECRET_KEY_PREFIX}-{serial:07}"),
            token: format!("{CREDENTIAL_TOKEN_PREFIX}-{serial:07}=="),
        }
    }

    /// The fields and their values, in JSON.
    fn fields(&self) -> Vec<(&str, String)> {
        let Secrets { key_id, secret_key, token } = self.secrets();
        vec![
            ("Code", quoted("Success")),
            ("LastUpdated", quoted(&self.last_updated.to_string())),
            ("Type", quoted("AWS-HMAC")),
            ("AccessKeyId", quoted(&key_id)),
            ("SecretAccessKey", quoted(&secret_key)),
            ("Token", quoted(&token)),
            ("Expiration", quoted(&self.expiration.to_string())),
        ]
    }
}

/// JSON the way IMDS writes it.
fn listing(fields: &[(&str, String)]) -> String {
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("  \"{name}\" : {value}")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.saturating_add(span).expect("a duration never fails")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("it is an instant")
    }

    #[test]
    fn documents_rotate_at_whole_periods() {
        let terms = Terms::default();
        let mut document = Document::first(&terms, at("2026-01-31T12:00:00.5Z"));
        for (now, last_updated) in [
            ("2026-01-31T12:59:59Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T13:00:00Z", "2026-01-31T13:00:00Z"),
            ("2026-01-31T16:30:00Z", "2026-01-31T16:00:00Z"),
            // A clock that jumps back does not rotate the document.
            ("2026-01-31T11:00:00Z", "2026-01-31T16:00:00Z"),
        ] {
            document.rotate_when_due(&terms, at(now));
            assert_eq!(document.credential().last_updated, Some(at(last_updated)), "{now}");
        }
        let off = Terms { rotation: Rotation::Off(Off::Off), ..terms };
        document.rotate_when_due(&off, at("2026-02-10T00:00:00Z"));
        assert_eq!(document.credential().last_updated, Some(at("2026-01-31T16:00:00Z")));
    }

    #[test]
    fn a_document_that_expires_soon_looks_old_and_stays_for_a_period() {
        let terms = Terms::default();
        let now = at("2026-01-31T12:00:00Z");
        let mut document = Document::first(&terms, now);
        document.expire_in(SignedDuration::from_mins(10), &terms, now);
        document.rotate_when_due(&terms, at("2026-01-31T12:59:00Z"));
        let old = document.credential();
        assert_eq!(old.expiration, at("2026-01-31T12:10:00Z"));
        assert_eq!(old.last_updated, Some(at("2026-01-31T05:36:00Z")));
        document.rotate_when_due(&terms, at("2026-01-31T13:00:00Z"));
        assert!(document.credential().is_rotated(&old));
    }

    #[test]
    fn documents_created_within_one_second_differ() {
        let terms = Terms::default();
        let now = at("2026-01-31T12:00:00Z");
        let mut document = Document::first(&terms, now);
        let (first, text) = (document.credential(), document.with([]).body);
        document.renew(&terms, now);
        assert!(document.credential().is_rotated(&first));
        assert_ne!(document.with([]).body, text);
    }
}
