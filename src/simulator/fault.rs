//! What is wrong with the simulated IMDS: a failure kind, where it strikes and in which form.
//!
//! Owns which kinds, steps and variants go together; a [`Fault`] that exists is one that can be made. Must not know
//! how it looks on the wire.

use std::fmt;

use serde::Serialize;

use super::variant::{Field, Variant};
use crate::model::{Kind, Step};

/// The forms of a kind, the one that it takes by default first; none if there is but one form.
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

/// Where the kind can strike in this form, the step where it does by default first.
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

/// Whether only the client's side can make this kind: no server has a part in it.
#[must_use]
pub const fn is_client_side(kind: Kind) -> bool {
    matches!(kind, Kind::DisabledByEnvironment | Kind::NetworkUnreachable)
}

/// One thing that is wrong.
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
    /// If no server can make this kind; the text says how it is made instead.
    pub fn new(kind: Kind) -> Result<Self, FaultError> {
        if is_client_side(kind) {
            return Err(FaultError::ClientSide(kind));
        }
        let variant = variants(kind).first().copied();
        let field = (kind == Kind::IncompleteDocument).then_some(Field::SecretAccessKey);
        Ok(Self { kind, step: steps(kind, variant)[0], variant, field })
    }

    /// The same in the form that has this label, at that form's default step.
    ///
    /// # Errors
    /// If the kind has no such form.
    pub fn in_variant(self, label: &str) -> Result<Self, FaultError> {
        let variant = Variant::from_label(label).filter(|variant| variants(self.kind).contains(variant));
        let variant = variant.ok_or(FaultError::Variant(self.kind))?;
        Ok(Self { variant: Some(variant), step: steps(self.kind, Some(variant))[0], ..self })
    }

    /// The same, striking at `step` and at whatever a resolution asks for after it.
    ///
    /// # Errors
    /// If this form cannot strike there.
    pub fn at_step(self, step: Step) -> Result<Self, FaultError> {
        let known = steps(self.kind, self.variant);
        if known.contains(&step) { Ok(Self { step, ..self }) } else { Err(FaultError::Step(self.kind, known)) }
    }

    /// The same in another field of the document.
    ///
    /// # Errors
    /// If this kind is not about a field, or there is none of this name.
    pub fn in_field(self, name: &str) -> Result<Self, FaultError> {
        match (self.field, Field::from_label(name)) {
            (Some(_), Some(field)) => Ok(Self { field: Some(field), ..self }),
            (Some(_), None) => Err(FaultError::UnknownField),
            (None, _) => Err(FaultError::NoField(self.kind)),
        }
    }

    /// What goes wrong.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The first step that it strikes.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// The form, where the kind has several.
    #[must_use]
    pub const fn variant(&self) -> Option<Variant> {
        self.variant
    }

    /// The field of the document, where the kind is about one.
    #[must_use]
    pub const fn field(&self) -> Option<Field> {
        self.field
    }
}

/// Why a fault cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// No server can make this kind.
    ClientSide(Kind),
    /// The kind has no such variant.
    Variant(Kind),
    /// The kind cannot strike at this step, only at these.
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
                write!(f, "no server can make {kind}: set AWS_EC2_METADATA_DISABLED=true in the client's environment")
            }
            Self::ClientSide(kind) => write!(
                f,
                "no server can make {kind}: set the client's endpoint to http://127.255.255.255:1338, \
                 loopback's broadcast address, which Linux reports as unreachable"
            ),
            Self::Variant(kind) if variants(*kind).is_empty() => write!(f, "{kind} has no variants"),
            Self::Variant(kind) => {
                write!(f, "{kind} has no such variant, only {}", listed(variants(*kind).iter().map(|v| v.label())))
            }
            Self::Step(kind, known) => {
                write!(f, "in this form {kind} strikes only at {}", listed(known.iter().map(|step| step.label())))
            }
            Self::NoField(kind) => write!(f, "{kind} is not about a field; incomplete_document is"),
            Self::UnknownField => {
                write!(f, "no such field, only {}", listed(Field::ALL.iter().map(|field| field.label())))
            }
        }
    }
}

impl std::error::Error for FaultError {}

/// The words, separated by commas.
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
