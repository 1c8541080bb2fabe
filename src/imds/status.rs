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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interceptor_is_known_by_its_status_or_by_via_on_an_error() {
        for (status, via, intercepted) in [
            (407, false, true),
            (411, false, true),
            (407, true, true),
            (400, true, true),
            (502, true, true),
            (200, true, false),
            (399, true, false),
            (404, false, false),
            (502, false, false),
        ] {
            assert_eq!(interceptor(status, via), intercepted.then_some(Kind::Intercepted), "{status} {via}");
        }
    }

    #[test]
    fn each_status_has_its_kind_at_each_step() {
        let rows = [
            (400, [Kind::TokenRejected, Kind::UnexpectedStatus, Kind::UnexpectedStatus]),
            (403, [Kind::ImdsDisabled, Kind::Forbidden, Kind::Forbidden]),
            (404, [Kind::TokenUnsupported, Kind::UnexpectedStatus, Kind::RoleNotFound]),
            (405, [Kind::TokenUnsupported, Kind::UnexpectedStatus, Kind::UnexpectedStatus]),
            (429, [Kind::Throttled; 3]),
            (500, [Kind::ServerError; 3]),
            (503, [Kind::ServerError; 3]),
            (599, [Kind::ServerError; 3]),
            (600, [Kind::UnexpectedStatus; 3]),
            (301, [Kind::UnexpectedStatus; 3]),
            (204, [Kind::UnexpectedStatus; 3]),
        ];
        for (status, kinds) in rows {
            let steps = [Step::Token, Step::Role, Step::Credentials];
            assert_eq!(steps.map(|step| status_kind(step, status)), kinds, "{status}");
        }
    }
}
