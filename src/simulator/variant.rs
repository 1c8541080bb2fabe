//! The words for the forms of a fault and for the fields of a document.
//!
//! Owns the words. Must not know which fault takes which form.

use super::words::words;

words! {
    /// A form that a kind takes on the wire; which kind has which is said by `fault::variants`.
    Variant {
        /// Something that is not HTTP.
        NotHttp = "not_http",
        /// A body of more than 64 KiB.
        TooLarge = "too_large",
        /// A binary body.
        NotText = "not_text",
        /// A web page with status 200.
        Page = "page",
        /// Proxy authentication required.
        Status407 = "407",
        /// Length required.
        Status411 = "411",
        /// 502 with a `Via` header.
        Via = "via",
        /// End of stream instead of an answer.
        BeforeAnswer = "before_answer",
        /// End of stream within the body.
        MidBody = "mid_body",
        /// A TCP reset instead of an answer.
        Reset = "reset",
        /// 404.
        NotFound = "not_found",
        /// Nothing where a text should be.
        Empty = "empty",
        /// Not found.
        Status404 = "404",
        /// Method not allowed.
        Status405 = "405",
        /// The field is left out.
        Missing = "missing",
        /// The field is `null`.
        Null = "null",
        /// A number instead.
        Number = "number",
        /// A JSON object instead.
        Object = "object",
        /// The document ends in its middle.
        Truncated = "truncated",
        /// A web page instead.
        Html = "html",
        /// A JSON array instead.
        Array = "array",
        /// `iam/info` says it.
        Info = "info",
        /// The credential document says it.
        Document = "document",
        /// No answer at all.
        Hang = "hang",
        /// One byte a second.
        Drip = "drip",
        /// A redirect.
        Status302 = "302",
        /// I'm a teapot.
        Status418 = "418",
        /// Internal server error.
        Status500 = "500",
        /// Service unavailable.
        Status503 = "503",
        /// The field `Expiration`.
        Expiration = "expiration",
        /// The field `LastUpdated`.
        LastUpdated = "last_updated",
    }
}

words! {
    /// A field of the credential document that can be incomplete. Clients do without `Code` and `LastUpdated`, so
    /// that these are no fault to them where they are missing.
    Field {
        /// How IMDS got on with the credentials.
        Code = "Code",
        /// When it got them.
        LastUpdated = "LastUpdated",
        /// The key's id.
        AccessKeyId = "AccessKeyId",
        /// The key.
        SecretAccessKey = "SecretAccessKey",
        /// The token that goes with the key.
        Token = "Token",
        /// When the credentials end.
        Expiration = "Expiration",
    }
}
