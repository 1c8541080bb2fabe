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
#[serde(rename_all = "snake_case", expecting = "neither \"off\" nor a period such as \"1h\"")]
pub enum Rotation {
    /// Never.
    Off,
    /// With this period.
    #[serde(untagged)]
    Every(#[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")] Duration),
}

pub(super) struct Terms {
    pub(super) role: RoleName,
    pub(super) lifetime: SignedDuration,
    pub(super) rotation: Rotation,
}

pub(super) struct SimulatedDocument {
    pub(super) role: RoleName,
    serial: u32,
    /// From here the time to the next rotation counts; `last_updated` may be set back to fit a short time left.
    issued: Timestamp,
    last_updated: Timestamp,
    expiration: Timestamp,
}

impl SimulatedDocument {
    pub(super) fn first(terms: &Terms, now: Timestamp) -> Self {
        let now = whole_seconds(now);
        let (role, expiration) = (terms.role.clone(), after(now, terms.lifetime));
        Self { role, serial: 1, issued: now, last_updated: now, expiration }
    }

    pub(super) fn renew(&mut self, terms: &Terms, at: Timestamp) {
        // Two documents of one second would not be told apart.
        let earliest = after(self.last_updated, SignedDuration::from_secs(1));
        let issued = whole_seconds(at);
        *self = Self { serial: self.serial.wrapping_add(1), issued, ..Self::first(terms, issued.max(earliest)) };
    }

    /// One that has this much time left, as if it had been made a lifetime before its end.
    pub(super) fn expire_in(&mut self, left: SignedDuration, terms: &Terms, now: Timestamp) {
        self.renew(terms, now);
        self.expiration = whole_seconds(after(now, left));
        self.last_updated = self.issued.min(after(self.expiration, -terms.lifetime));
    }

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

    /// The document, with these fields replaced by JSON; an empty text omits the field.
    pub(super) fn with<'a>(&self, replaced: impl IntoIterator<Item = (&'a str, &'a str)>) -> Answer {
        let mut fields = self.fields();
        for (name, json) in replaced {
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, value)) => json.clone_into(value),
                None => fields.push((name, json.to_owned())),
            }
        }
        fields.retain(|(_, json)| !json.is_empty());
        Answer::text(200, listing(&fields))
    }

    pub(super) fn edited(&self, edit: impl FnOnce(&str) -> String) -> Answer {
        Answer::text(200, edit(&listing(&self.fields())))
    }

    pub(super) fn refusal(&self, code: &str, message: &str) -> Answer {
        let updated = self.last_updated.to_string();
        Answer::text(200, listing(&quoted([("Code", code), ("Message", message), ("LastUpdated", &updated)])))
    }

    pub(super) fn profile_info(&self, code: &str, message: Option<&str>) -> Answer {
        let mut fields = quoted([
            ("Code", code),
            ("LastUpdated", &self.last_updated.to_string()),
            ("InstanceProfileArn", "arn:aws:iam::123456789012:instance-profile/simulated-profile"),
            ("InstanceProfileId", "AIPASIMULATEDPROFILE0"),
        ]);
        fields.extend(message.into_iter().flat_map(|message| quoted([("Message", message)])));
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

    fn fields<'a>(&self) -> Vec<(&'a str, String)> {
        let Secrets { key_id, secret_key, token } = self.secrets();
        quoted([
            ("Code", "Success"),
            ("LastUpdated", &self.last_updated.to_string()),
            ("Type", "AWS-HMAC"),
            ("AccessKeyId", &key_id),
            ("SecretAccessKey", &secret_key),
            ("Token", &token),
            ("Expiration", &self.expiration.to_string()),
        ])
    }
}

fn quoted<'a, const N: usize>(fields: [(&'a str, &str); N]) -> Vec<(&'a str, String)> {
    fields.map(|(name, value)| (name, json!(value).to_string())).into()
}

/// JSON the way IMDS writes it.
fn listing(fields: &[(&str, String)]) -> String {
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("  \"{name}\" : {value}")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.saturating_add(span).expect("a duration never fails")
}
