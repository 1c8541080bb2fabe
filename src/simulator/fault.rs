//! The faults of the simulated IMDS: each kind of failure, in each of its forms, from each step at which it can begin.
//!
//! Owns what a fault does, so that every [`Fault`] can be produced. Must not know settings, tokens or sockets.

use std::fmt;

use super::answer::{Answer, Delivery};
use super::document::Document;
use super::endpoint::Endpoint;
use super::request::MAX_BODY_BYTES;
use crate::domain::{Kind, Step};

/// A form of a kind.
#[derive(Debug)]
struct Form {
    kind: Kind,
    /// Its name; empty if the kind has no other form.
    variant: &'static str,
    /// The steps at which it can begin, the default first.
    steps: &'static [Step],
    effect: Effect,
}

/// What a fault does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// The port is in this state.
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
    HasNoRole(fn() -> Answer, fn(&Document) -> Answer),
    /// The document of the role is answered so.
    Document(fn(&Document) -> Answer),
}

/// How the port treats clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortState {
    /// Connections are accepted.
    Open,
    /// Connections are refused.
    Refusing,
    /// Connections are never established.
    Silent,
}

const TOKEN: &[Step] = &[Step::Token];
const ROLE: &[Step] = &[Step::Role];
const CREDENTIALS: &[Step] = &[Step::Credentials];
const GETS: &[Step] = &[Step::Role, Step::Credentials];
const ANY: &[Step] = &[Step::Token, Step::Role, Step::Credentials];

const fn form(kind: Kind, variant: &'static str, steps: &'static [Step], effect: Effect) -> Form {
    Form { kind, variant, steps, effect }
}

/// All forms; the first one of a kind is its default.
#[rustfmt::skip]
const FORMS: &[Form] = {
    use Effect::{Answers, Delivers, Document, HasNoRole, LosesTokens, Port, RefusesTokens};
    &[
        form(Kind::ConnectRefused, "", TOKEN, Port(PortState::Refusing)),
        form(Kind::ConnectTimeout, "", TOKEN, Port(PortState::Silent)),
        form(Kind::ReadTimeout, "hang", ANY, Delivers(Delivery::Never)),
        form(Kind::ReadTimeout, "drip", ANY, Delivers(Delivery::BytePerSecond)),
        form(Kind::HopLimit, "", TOKEN, LosesTokens),
        form(Kind::ConnectionClosed, "before_answer", ANY, Delivers(Delivery::Close)),
        form(Kind::ConnectionClosed, "mid_body", ANY, Delivers(Delivery::Cut)),
        form(Kind::ConnectionClosed, "reset", ANY, Delivers(Delivery::Reset)),
        form(Kind::InvalidResponse, "not_http", ANY, Delivers(Delivery::Instead(b"SSH-2.0-OpenSSH_9.6\r\n"))),
        form(Kind::InvalidResponse, "too_large", ANY, Answers(|| Answer::text(200, vec![b'a'; MAX_BODY_BYTES + 1]))),
        form(Kind::InvalidResponse, "not_text", ANY, Answers(|| Answer::text(200, b"\x00\x9f\x92\x96\xff\xfe\r\n\x01"))),
        // A page instead of the document is a malformed document.
        form(Kind::InvalidResponse, "page", &[Step::Token, Step::Role], Answers(|| {
            Answer { status: 200, ..Answer::error(404) }.with_header("Server", "nginx")
        })),
        form(Kind::Intercepted, "407", ANY, Answers(|| proxy(407).with_header("Proxy-Authenticate", "Basic realm=\"proxy\""))),
        form(Kind::Intercepted, "411", ANY, Answers(|| proxy(411))),
        form(Kind::Intercepted, "via", ANY, Answers(|| proxy(502).with_header("Via", "1.1 proxy.internal (squid/6.6)"))),
        form(Kind::TokenRejected, "", TOKEN, RefusesTokens(|| Answer::error(400))),
        form(Kind::TokenUnsupported, "404", TOKEN, RefusesTokens(|| Answer::error(404))),
        form(Kind::TokenUnsupported, "405", TOKEN, RefusesTokens(|| Answer::error(405))),
        form(Kind::ImdsDisabled, "", TOKEN, Answers(|| Answer::error(403))),
        form(Kind::TokenForbidden, "", TOKEN, RefusesTokens(|| Answer::error(403))),
        form(Kind::Forbidden, "", GETS, Answers(|| Answer::error(403))),
        form(Kind::Unauthorized, "", GETS, Answers(|| Answer::error(401))),
        form(Kind::NoRole, "not_found", ROLE, HasNoRole(|| Answer::error(404), |_| Answer::error(404))),
        form(Kind::NoRole, "empty", ROLE, HasNoRole(|| Answer::text(200, ""), |_| Answer::error(404))),
        form(Kind::ProfileWithoutRole, "", ROLE, HasNoRole(|| Answer::error(404), |document| {
            document.profile_info("Success", Some("Instance Profile does not contain a role"))
        })),
        form(Kind::ProfileNotFound, "info", ROLE, HasNoRole(|| Answer::error(404), |document| {
            document.profile_info("InstanceProfileNotFound", None)
        })),
        form(Kind::ProfileNotFound, "document", CREDENTIALS, Document(|document| {
            document.refusal("InstanceProfileNotFound", "The instance profile of this instance does not exist")
        })),
        form(Kind::RoleNotFound, "", CREDENTIALS, Document(|_| Answer::error(404))),
        form(Kind::AssumeRoleDenied, "", CREDENTIALS, Document(|document| {
            document.refusal("AssumeRoleUnauthorizedAccess", "EC2 cannot assume the role")
        })),
        // botocore accepts such a document, so all its fields are there.
        form(Kind::Refused, "", CREDENTIALS, Document(|document| document.with([("Code", "\"Failed\"")]))),
        // Half a document still has the secrets, which must not leak on the way to the error.
        form(Kind::MalformedDocument, "truncated", CREDENTIALS, Document(|document| {
            document.edited(|text| text.split_once("\"Expiration\"").unwrap_or_default().0.to_owned())
        })),
        form(Kind::MalformedDocument, "html", CREDENTIALS, Document(|document| {
            document.edited(|text| format!("<!DOCTYPE html>\n<html><body><pre>{text}</pre></body></html>\n"))
        })),
        form(Kind::MalformedDocument, "array", CREDENTIALS, Document(|document| document.edited(|text| format!("[{text}]")))),
        form(Kind::MalformedDocument, "number", CREDENTIALS, Document(|_| Answer::text(200, "42"))),
        form(Kind::IncompleteDocument, "missing", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "")]))),
        form(Kind::IncompleteDocument, "empty", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "\"\"")]))),
        form(Kind::IncompleteDocument, "null", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "null")]))),
        form(Kind::IncompleteDocument, "number", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "42")]))),
        form(Kind::IncompleteDocument, "object", CREDENTIALS, Document(|document| document.with([("SecretAccessKey", "{}")]))),
        form(Kind::InvalidTimestamp, "expiration", CREDENTIALS, Document(|document| document.with([("Expiration", "\"in six hours\"")]))),
        form(Kind::InvalidTimestamp, "last_updated", CREDENTIALS, Document(|document| document.with([("LastUpdated", "\"a while ago\"")]))),
        form(Kind::Throttled, "", ANY, Answers(|| Answer::error(429))),
        form(Kind::ServerError, "500", ANY, Answers(|| Answer::error(500))),
        form(Kind::ServerError, "503", ANY, Answers(|| Answer::error(503))),
        form(Kind::UnexpectedStatus, "302", ANY, Answers(|| Answer::error(302).with_header("Location", "/login"))),
        form(Kind::UnexpectedStatus, "418", ANY, Answers(|| Answer::error(418))),
    ]
};

fn proxy(status: u16) -> Answer {
    Answer::error(status).with_header("Server", "squid/6.6")
}

/// Whether only the client can produce this kind, not a server.
#[must_use]
pub const fn is_client_side(kind: Kind) -> bool {
    matches!(kind, Kind::DisabledByEnvironment | Kind::NetworkUnreachable)
}

/// A fault: a form of a kind from a step on.
#[derive(Clone, Copy)]
pub struct Fault {
    form: &'static Form,
    step: Step,
}

impl Fault {
    /// The kind in its default form at its default step.
    ///
    /// # Errors
    /// If no server can produce this kind; the text says how to produce it instead.
    pub fn new(kind: Kind) -> Result<Self, FaultError> {
        Self::find(kind, None, None)
    }

    /// Every form of the kind at every step at which it can begin.
    pub fn all(kind: Kind) -> impl Iterator<Item = Self> {
        forms(kind).flat_map(|form| form.steps.iter().map(move |step| Self { form, step: *step }))
    }

    pub(super) fn find(kind: Kind, variant: Option<&str>, step: Option<Step>) -> Result<Self, FaultError> {
        let form = forms(kind).next().ok_or(FaultError::ClientSide(kind))?;
        let form = match variant {
            Some(variant) => forms(kind).find(|form| form.variant == variant).ok_or(FaultError::Variant(kind))?,
            None => form,
        };
        let step = step.unwrap_or(form.steps[0]);
        if form.steps.contains(&step) { Ok(Self { form, step }) } else { Err(FaultError::Step(kind, form.steps)) }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.form.kind
    }

    /// The step at which it begins.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// The form; empty if the kind has only one.
    #[must_use]
    pub const fn variant(&self) -> &'static str {
        self.form.variant
    }

    pub(super) const fn port(&self) -> PortState {
        match self.form.effect {
            Effect::Port(state) => state,
            _ => PortState::Open,
        }
    }

    /// What it does to a request for this.
    pub(super) fn effect_on(&self, endpoint: Endpoint, only_step: bool) -> Option<Effect> {
        let asked = endpoint.step();
        let is_affected = match self.form.effect {
            Effect::Port(_) => false,
            Effect::RefusesTokens(_) | Effect::LosesTokens => endpoint == Endpoint::Token,
            Effect::HasNoRole(..) => matches!(endpoint, Endpoint::Role | Endpoint::Credentials | Endpoint::ProfileInfo),
            Effect::Document(_) => endpoint == Endpoint::Credentials,
            Effect::Answers(_) | Effect::Delivers(_) if only_step => asked == Some(self.step),
            // What is no step of a resolution would be asked for after the token.
            Effect::Answers(_) | Effect::Delivers(_) => asked.unwrap_or(Step::Role) >= self.step,
        };
        is_affected.then_some(self.form.effect)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.form.kind, self.form.variant, self.step)
    }
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        (self.kind(), self.variant(), self.step) == (other.kind(), other.variant(), other.step)
    }
}

fn forms(kind: Kind) -> impl Iterator<Item = &'static Form> {
    FORMS.iter().filter(move |form| form.kind == kind)
}

/// Each kind that a server can produce, with its forms and their steps: a line for each form.
pub(super) fn table() -> Vec<String> {
    let steps = |form: &Form| listed(form.steps.iter().map(|step| step.label()));
    FORMS.iter().map(|form| format!("  {:<22} {:<14} {}", form.kind, form.variant, steps(form))).collect()
}

/// Why a fault cannot be produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// No server can produce this kind.
    ClientSide(Kind),
    /// The kind has no such variant.
    Variant(Kind),
    /// The kind begins at these steps only.
    Step(Kind, &'static [Step]),
    /// This key needs a fault.
    WithoutFault(&'static str),
}

impl FaultError {
    /// The key that is wrong.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::ClientSide(_) => "fault",
            Self::Variant(_) => "variant",
            Self::Step(..) => "step",
            Self::WithoutFault(key) => key,
        }
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientSide(Kind::DisabledByEnvironment) => {
                f.write_str("no server can produce it: set AWS_EC2_METADATA_DISABLED=true in the client's environment")
            }
            Self::ClientSide(_) => f.write_str(
                "no server can produce it: set the client's endpoint to http://127.255.255.255:1338, loopback's \
                 broadcast address, which Linux reports as unreachable",
            ),
            Self::Variant(kind) => {
                let variants = listed(forms(*kind).map(|form| form.variant).filter(|variant| !variant.is_empty()));
                write!(f, "no such form of {kind}; its forms: {}", if variants.is_empty() { "none" } else { &variants })
            }
            Self::Step(kind, steps) => {
                write!(f, "in this form {kind} begins at {} only", listed(steps.iter().map(|step| step.label())))
            }
            Self::WithoutFault(_) => f.write_str("it needs a `fault` other than none"),
        }
    }
}

impl std::error::Error for FaultError {}

/// The words, separated by commas.
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
