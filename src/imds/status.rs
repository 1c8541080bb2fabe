//! What IMDS means by an HTTP status.
//!
//! | status | token `PUT` | `GET` |
//! | --- | --- | --- |
//! | 400 | `token_rejected` | |
//! | 401 | | handled by the client; `unauthorized` with a fresh token |
//! | 403 | `imds_disabled` | `forbidden` |
//! | 404 | `token_unsupported` | no role, or `role_not_found` for the document |
//! | 405 | `token_unsupported` | |
//! | 407, 411, any error with `Via` | `intercepted` | `intercepted` |
//! | 429 | `throttled` | `throttled` |
//! | 5xx | `server_error` | `server_error` |
//!
//! Anything else is `unexpected_status`. Source: EC2 user guide, "Use IMDSv2"; 407 and 411 are a proxy's.

use crate::domain::{Kind, Step};

/// The kind of an answer that is not from IMDS.
pub(super) fn interceptor(status: u16, via: bool) -> Option<Kind> {
    (matches!(status, 407 | 411) || (via && status >= 400)).then_some(Kind::Intercepted)
}

/// The kind of an answer of IMDS that is not 200.
pub(super) fn status_kind(step: Step, status: u16) -> Kind {
    match (step, status) {
        (_, 429) => Kind::Throttled,
        (_, 500..=599) => Kind::ServerError,
        (Step::Token, 400) => Kind::TokenRejected,
        (Step::Token, 403) => Kind::ImdsDisabled,
        (Step::Token, 404 | 405) => Kind::TokenUnsupported,
        (Step::Role | Step::Credentials, 403) => Kind::Forbidden,
        (Step::Credentials, 404) => Kind::RoleNotFound,
        _ => Kind::UnexpectedStatus,
    }
}
