//! A fault of the simulated IMDS: a failure kind, the step where it begins, and its form.
//!
//! Owns which kinds, steps and variants go together, so that every [`Fault`] can be produced. Must not know how it looks
//! on the wire.

use std::fmt;

use serde::Serialize;
use strum::VariantArray;

use super::variant::{Field, Variant};
use crate::domain::{Kind, Step};

/// The forms of a kind, the default first; empty if there is only one form.
#[must_use]
pub const fn variants(kind: Kind) -> &'static [Variant] {
    use Variant as V;
    match kind {
        Kind::ReadTimeout => &[V::Hang, V::Drip],
        Kind::ConnectionClosed => &[V::BeforeAnswer, V::MidBody, V::Reset],
        Kind::InvalidResponse => &[V::NotHttp, V::TooLarge, V::NotText, V::Page],
        Kind::Intercepted => &[V::Status407, V::Status411, V::Via],
        Kind::TokenUnsupported => &[V::Status404, V::Status405],
        Kind::NoRole => &[V::NotFound, V::Empty],
        Kind::ProfileNotFound => &[V::Info, V::Document],
        Kind::MalformedDocument => &[V::Truncated, V::Html, V::Array, V::Number],
        Kind::IncompleteDocument => &[V::Missing, V::Empty, V::Null, V::Number, V::Object],
        Kind::InvalidTimestamp => &[V::Expiration, V::LastUpdated],
        Kind::ServerError => &[V::Status500, V::Status503],
        Kind::UnexpectedStatus => &[V::Status302, V::Status418],
        _ => &[],
    }
}

/// The steps at which the kind can begin in this form, the default first.
#[must_use]
pub const fn steps(kind: Kind, variant: Option<Variant>) -> &'static [Step] {
    match (kind, variant) {
        // A page instead of the document is a malformed document.
        (Kind::InvalidResponse, Some(Variant::Page)) => &[Step::Token, Step::Role],
        (Kind::Forbidden | Kind::Unauthorized, _) => &[Step::Role, Step::Credentials],
        (Kind::ProfileNotFound, Some(Variant::Document))
        | (
            Kind::RoleNotFound
            | Kind::AssumeRoleDenied
            | Kind::Refused
            | Kind::MalformedDocument
            | Kind::IncompleteDocument
            | Kind::InvalidTimestamp,
            _,
        ) => &[Step::Credentials],
        (Kind::NoRole | Kind::ProfileWithoutRole | Kind::ProfileNotFound, _) => &[Step::Role],
        (
            Kind::ReadTimeout
            | Kind::ConnectionClosed
            | Kind::InvalidResponse
            | Kind::Intercepted
            | Kind::Throttled
            | Kind::ServerError
            | Kind::UnexpectedStatus,
            _,
        ) => &[Step::Token, Step::Role, Step::Credentials],
        _ => &[Step::Token],
    }
}

/// Whether only the client can produce this kind, not a server.
#[must_use]
pub const fn is_client_side(kind: Kind) -> bool {
    matches!(kind, Kind::DisabledByEnvironment | Kind::NetworkUnreachable)
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    kind: Kind,
    step: Step,
    variant: Option<Variant>,
    field: Option<Field>,
}

impl Fault {
    /// The kind in its default form at its default step.
    ///
    /// # Errors
    /// If no server can produce this kind; the text says how to produce it instead.
    pub fn new(kind: Kind) -> Result<Self, FaultError> {
        if is_client_side(kind) {
            return Err(FaultError::ClientSide(kind));
        }
        let variant = variants(kind).first().copied();
        let field = (kind == Kind::IncompleteDocument).then_some(Field::SecretAccessKey);
        Ok(Self { kind, step: steps(kind, variant)[0], variant, field })
    }

    /// The same fault in the form with this label, at its default step.
    ///
    /// # Errors
    /// If the kind has no such form.
    pub fn in_variant(self, label: &str) -> Result<Self, FaultError> {
        let variant = label.parse::<Variant>().ok().filter(|variant| variants(self.kind).contains(variant));
        let variant = variant.ok_or(FaultError::Variant(self.kind))?;
        Ok(Self { variant: Some(variant), step: steps(self.kind, Some(variant))[0], ..self })
    }

    /// The same fault from `step` on.
    ///
    /// # Errors
    /// If this form cannot begin there.
    pub fn at_step(self, step: Step) -> Result<Self, FaultError> {
        let known = steps(self.kind, self.variant);
        if known.contains(&step) { Ok(Self { step, ..self }) } else { Err(FaultError::Step(self.kind, known)) }
    }

    /// The same fault in another field of the document.
    ///
    /// # Errors
    /// If this kind is not about a field, or there is none of this name.
    pub fn in_field(self, name: &str) -> Result<Self, FaultError> {
        match (self.field, name.parse::<Field>().ok()) {
            (Some(_), Some(field)) => Ok(Self { field: Some(field), ..self }),
            (Some(_), None) => Err(FaultError::UnknownField),
            (None, _) => Err(FaultError::NoField(self.kind)),
        }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The step at which it begins.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// The form, if the kind has several.
    #[must_use]
    pub const fn variant(&self) -> Option<Variant> {
        self.variant
    }

    /// The field of the document, if the kind is about one.
    #[must_use]
    pub const fn field(&self) -> Option<Field> {
        self.field
    }
}

/// Why a fault cannot be produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// No server can produce this kind.
    ClientSide(Kind),
    /// The kind has no such variant.
    Variant(Kind),
    /// The kind cannot begin at this step, only at these.
    Step(Kind, &'static [Step]),
    /// The kind is not about a field.
    NoField(Kind),
    /// The credential document has no such field.
    UnknownField,
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientSide(kind @ Kind::DisabledByEnvironment) => {
                write!(
                    f,
                    "no server can produce {kind}: set AWS_EC2_METADATA_DISABLED=true in the client's environment"
                )
            }
            Self::ClientSide(kind) => write!(
                f,
                "no server can produce {kind}: set the client's endpoint to http://127.255.255.255:1338, \
                 loopback's broadcast address, which Linux reports as unreachable"
            ),
            Self::Variant(kind) if variants(*kind).is_empty() => write!(f, "{kind} has no variants"),
            Self::Variant(kind) => {
                write!(f, "{kind} has no such variant, only {}", listed(variants(*kind).iter().map(|v| v.label())))
            }
            Self::Step(kind, known) => {
                write!(f, "in this form {kind} begins only at {}", listed(known.iter().map(|step| step.label())))
            }
            Self::NoField(kind) => write!(f, "{kind} is not about a field; incomplete_document is"),
            Self::UnknownField => {
                write!(f, "no such field, only {}", listed(Field::VARIANTS.iter().map(|field| field.label())))
            }
        }
    }
}

impl std::error::Error for FaultError {}

/// The words, separated by commas.
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
