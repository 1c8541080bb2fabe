//! The forms of a fault, and the fields of a credential document.
//!
//! Must not know which fault has which form.

use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// A form of a fault on the wire; `fault::variants` says which kind has which.
#[derive(Clone, Copy, Debug, Display, EnumString, Eq, IntoStaticStr, PartialEq, Serialize, VariantArray)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum Variant {
    /// Something that is not HTTP.
    NotHttp,
    /// A body of more than 64 KiB.
    TooLarge,
    /// A binary body.
    NotText,
    /// A web page with status 200.
    Page,
    /// Proxy authentication required.
    #[strum(serialize = "407")]
    Status407,
    /// Length required.
    #[strum(serialize = "411")]
    Status411,
    /// 502 with a `Via` header.
    Via,
    /// End of stream instead of an answer.
    BeforeAnswer,
    /// End of stream within the body.
    MidBody,
    /// A TCP reset instead of an answer.
    Reset,
    /// 404.
    NotFound,
    /// Nothing where a text should be.
    Empty,
    /// Not found.
    #[strum(serialize = "404")]
    Status404,
    /// Method not allowed.
    #[strum(serialize = "405")]
    Status405,
    /// The field is left out.
    Missing,
    /// The field is `null`.
    Null,
    /// A number instead.
    Number,
    /// A JSON object instead.
    Object,
    /// The document ends in its middle.
    Truncated,
    /// A web page instead.
    Html,
    /// A JSON array instead.
    Array,
    /// `iam/info` says it.
    Info,
    /// The credential document says it.
    Document,
    /// No answer at all.
    Hang,
    /// One byte a second.
    Drip,
    /// A redirect.
    #[strum(serialize = "302")]
    Status302,
    /// I'm a teapot.
    #[strum(serialize = "418")]
    Status418,
    /// Internal server error.
    #[strum(serialize = "500")]
    Status500,
    /// Service unavailable.
    #[strum(serialize = "503")]
    Status503,
    /// The field `Expiration`.
    Expiration,
    /// The field `LastUpdated`.
    LastUpdated,
}

impl Variant {
    /// The form as scenarios name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A field of the credential document that can be incomplete. Clients do without `Code` and `LastUpdated`, so that it is
/// no fault if these are missing.
#[derive(Clone, Copy, Debug, Display, EnumString, Eq, IntoStaticStr, PartialEq, Serialize, VariantArray)]
#[serde(into = "&'static str")]
pub enum Field {
    /// How IMDS got on with the credentials.
    Code,
    /// When it got them.
    LastUpdated,
    /// The key's id.
    AccessKeyId,
    /// The key.
    SecretAccessKey,
    /// The token that goes with the key.
    Token,
    /// When the credentials end.
    Expiration,
}

impl Field {
    /// The field as the document names it.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}
