//! The faults of the simulated IMDS: each kind of failure, in each of its forms, from each step at which it can begin.
//!
//! Owns what a fault does, so that every [`Fault`] can be produced. Must not know settings, tokens or sockets.

use std::fmt;

use super::answer::{Answer, Delivery};
use super::document::SimulatedDocument;
use super::imds_request::Resource;
use crate::domain::{Kind, Step};

/// A form of a kind: its name, empty if the kind has no other; the steps at which it can begin, the default first; and
/// what it does.
type Form = (Kind, &'static str, &'static [Step], Effect);

#[derive(Clone, Copy)]
pub(super) enum Effect {
    Port(PortState),
    /// Each request from the fault's step on is answered so, whatever its session token.
    Answers(fn() -> Answer),
    /// The answers from the fault's step on are delivered so.
    Delivers(Delivery),
    /// Token requests alone are answered so.
    RefusesTokens(fn() -> Answer),
    /// The answers to token requests alone never arrive.
    LosesTokens,
    /// The role list and `iam/info` are answered so, and there is no document.
    HasNoRole(fn() -> Answer, fn(&SimulatedDocument) -> Answer),
    Document(fn(&SimulatedDocument) -> Answer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortState {
    Open,
    Refusing,
    /// Connections are never established.
    Silent,
}

const TOKEN: &[Step] = &[Step::Token];
const ROLE: &[Step] = &[Step::Role];
const CREDENTIALS: &[Step] = &[Step::Credentials];
const GETS: &[Step] = &[Step::Role, Step::Credentials];
const ANY: &[Step] = &[Step::Token, Step::Role, Step::Credentials];

/// All forms; the first one of a kind is its default.
#[rustfmt::skip]
const FORMS: &[Form] = {
    use Effect::{Answers, Delivers, Document, HasNoRole, LosesTokens, Port, RefusesTokens};
    &[
        (Kind::ConnectRefused, "", TOKEN, Port(PortState::Refusing)),
        (Kind::ConnectTimeout, "", TOKEN, Port(PortState::Silent)),
        (Kind::ReadTimeout, "hang", ANY, Delivers(Delivery::Never)),
        (Kind::ReadTimeout, "drip", ANY, Delivers(Delivery::BytePerSecond)),
        (Kind::HopLimit, "", TOKEN, LosesTokens),
        (Kind::ConnectionClosed, "before_answer", ANY, Delivers(Delivery::Close)),
        (Kind::ConnectionClosed, "mid_body", ANY, Delivers(Delivery::Cut)),
        (Kind::ConnectionClosed, "reset", ANY, Delivers(Delivery::Reset)),
        (Kind::InvalidResponse, "not_http", ANY, Delivers(Delivery::Instead(b"SSH-2.0-OpenSSH_9.6\r\n"))),
        (Kind::InvalidResponse, "too_large", ANY, Answers(|| Answer::text(200, vec![b'a'; 64 * 1024 + 1]))),
        (Kind::InvalidResponse, "not_text", ANY, Answers(|| Answer::text(200, b"\x00\x9f\x92\x96\xff\xfe\r\n\x01"))),
        // A page instead of the document is a malformed document.
        (Kind::InvalidResponse, "page", &[Step::Token, Step::Role], Answers(|| {
            Answer { status: 200, ..Answer::error(404) }.with_header("Server", "nginx")
        })),
        (Kind::Intercepted, "407", ANY, Answers(|| proxy(407).with_header("Proxy-Authenticate", "Basic realm=\"proxy\""))),
        (Kind::Intercepted, "411", ANY, Answers(|| proxy(411))),
        (Kind::Intercepted, "via", ANY, Answers(|| proxy(502).with_header("Via", "1.1 proxy.internal (squid/6.6)"))),
        (Kind::TokenRejected, "", TOKEN, RefusesTokens(|| Answer::error(400))),
        (Kind::TokenUnsupported, "404", TOKEN, RefusesTokens(|| Answer::error(404))),
        (Kind::TokenUnsupported, "405", TOKEN, RefusesTokens(|| Answer::error(405))),
        (Kind::ImdsDisabled, "", TOKEN, Answers(|| Answer::error(403))),
        (Kind::TokenForbidden, "", TOKEN, RefusesTokens(|| Answer::error(403))),
        (Kind::Forbidden, "", GETS, Answers(|| Answer::error(403))),
        (Kind::Unauthorized, "", GETS, Answers(|| Answer::error(401))),
        (Kind::NoRole, "not_found", ROLE, HasNoRole(|| Answer::error(404), |_| Answer::error(404))),
        (Kind::NoRole, "empty", ROLE, HasNoRole(|| Answer::text(200, ""), |_| Answer::error(404))),
        (Kind::ProfileWithoutRole, "", ROLE, HasNoRole(|| Answer::error(404), |document| {
            document.profile_info("Success", Some("Instance Profile does not contain a role"))
        })),
        (Kind::ProfileNotFound, "info", ROLE, HasNoRole(|| Answer::error(404), |document| {
            document.profile_info("InstanceProfileNotFound", None)
        })),
        (Kind::ProfileNotFound, "document", CREDENTIALS, Document(|document| {
            document.refusal("InstanceProfileNotFound", "The instance profile of this instance does not exist")
        })),
        (Kind::RoleNotFound, "", CREDENTIALS, Document(|_| Answer::error(404))),
        (Kind::AssumeRoleDenied, "", CREDENTIALS, Document(|document| {
            document.refusal("AssumeRoleUnauthorizedAccess", "EC2 cannot assume the role")
        })),
        // botocore accepts such a document, so all its fields are there.
        (Kind::Refused, "", CREDENTIALS, Document(|document| document.with([("Code", "\"Failed\"")]))),
        // Half a document still has the secrets, which must not leak on the way to the error.
        (Kind::MalformedDocument, "truncated", CREDENTIALS, Document(|document| {
            document.edited(|text| text.split_once("\"Expiration\"").unwrap_or_default().0.to_owned())
        })),
        (Kind::MalformedDocument, "html", CREDENTIALS, Document(|document| {
            document.edited(|text| format!("<!DOCTYPE html>\n<html><body><pre>{text}</pre></body></html>\n"))
        })),
        (Kind::MalformedDocument, "array", CREDENTIALS, Document(|document| document.edited(|text| format!("[{text}]")))),
        (Kind::MalformedDocument, "number", CREDENTIALS, Document(|_| Answer::text(200, "42"))),
        (Kind::IncompleteDocument, "missing", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "")]))),
        (Kind::IncompleteDocument, "empty", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "\"\"")]))),
        (Kind::IncompleteDocument, "null", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "null")]))),
        (Kind::IncompleteDocument, "number", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "42")]))),
        (Kind::IncompleteDocument, "object", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "{}")]))),
        (Kind::InvalidTimestamp, "expiration", CREDENTIALS, Document(|document| document.with([("Expiration", "\"in six hours\"")]))),
        (Kind::InvalidTimestamp, "last_updated", CREDENTIALS, Document(|document| document.with([("LastUpdated", "\"a while ago\"")]))),
        (Kind::Throttled, "", ANY, Answers(|| Answer::error(429))),
        (Kind::ServerError, "500", ANY, Answers(|| Answer::error(500))),
        (Kind::ServerError, "503", ANY, Answers(|| Answer::error(503))),
        (Kind::UnexpectedStatus, "302", ANY, Answers(|| Answer::error(302).with_header("Location", "/login"))),
        (Kind::UnexpectedStatus, "418", ANY, Answers(|| Answer::error(418))),
    ]
};

fn proxy(status: u16) -> Answer {
    Answer::error(status).with_header("Server", "squid/6.6")
}

/// Whether only the client can produce this kind, not a server.
#[must_use]
pub fn is_client_side(kind: Kind) -> bool {
    Fault::all(kind).next().is_none()
}

/// A fault: a form of a kind from a step on.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    /// The form; empty if the kind has only one.
    pub variant: &'static str,
    /// The step at which it begins.
    pub step: Step,
    effect: Effect,
}

impl Fault {
    /// Every form of the kind at every step at which it can begin; the default comes first.
    pub fn all(kind: Kind) -> impl Iterator<Item = Self> {
        FORMS.iter().filter(move |(known, ..)| *known == kind).flat_map(|(kind, variant, steps, effect)| {
            steps.iter().map(|step| Self { kind: *kind, variant, step: *step, effect: *effect })
        })
    }

    pub(super) fn find(kind: Kind, variant: Option<&str>, step: Option<Step>) -> Result<Self, String> {
        let Some(usual) = Self::all(kind).next() else {
            let instead = match kind {
                Kind::DisabledByEnvironment => "set AWS_EC2_METADATA_DISABLED=true in the client's environment",
                _ => "set the client's endpoint to http://127.255.255.255:1338, which Linux reports as unreachable",
            };
            return Err(format!("`fault`: no server can produce {kind}: {instead}"));
        };
        let variant = variant.unwrap_or(usual.variant);
        let of_form: Vec<_> = Self::all(kind).filter(|fault| fault.variant == variant).collect();
        if of_form.is_empty() {
            let mut variants: Vec<_> = Self::all(kind).map(|fault| fault.variant).collect();
            variants.dedup();
            let forms = if variants == [""] { "none".to_owned() } else { variants.join(", ") };
            return Err(format!("`variant`: no such form of {kind}; its forms: {forms}"));
        }
        of_form.iter().copied().find(|fault| step.is_none_or(|step| fault.step == step)).ok_or_else(|| {
            let steps = listed(of_form.iter().map(|fault| fault.step.label()));
            format!("`step`: in this form {kind} begins at {steps} only")
        })
    }

    pub(super) const fn port(&self) -> PortState {
        match self.effect {
            Effect::Port(state) => state,
            _ => PortState::Open,
        }
    }

    /// What it does to a request for this.
    pub(super) fn effect_on(&self, resource: Resource, only_step: bool) -> Option<Effect> {
        let asked = resource.step();
        let is_affected = match self.effect {
            Effect::Port(_) => false,
            Effect::RefusesTokens(_) | Effect::LosesTokens => resource == Resource::Token,
            Effect::HasNoRole(..) => matches!(resource, Resource::Role | Resource::Credentials | Resource::ProfileInfo),
            Effect::Document(_) => resource == Resource::Credentials,
            Effect::Answers(_) | Effect::Delivers(_) if only_step => asked == Some(self.step),
            // What is no step of a resolution would be asked for after the token.
            Effect::Answers(_) | Effect::Delivers(_) => asked.unwrap_or(Step::Role) >= self.step,
        };
        is_affected.then_some(self.effect)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.kind, self.variant, self.step)
    }
}

/// Each kind that a server can produce, with its forms and their steps: a line for each form.
pub(super) fn table() -> Vec<String> {
    let steps = |steps: &[Step]| listed(steps.iter().map(|step| step.label()));
    FORMS.iter().map(|(kind, variant, at, _)| format!("  {kind:<22} {variant:<14} {}", steps(at))).collect()
}

pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
