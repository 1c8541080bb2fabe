//! What a request asks for.
//!
//! Owns the paths. Must not know what is answered.

use serde::{Deserialize, Serialize};

use super::request::Request;
use crate::domain::Step;

/// What can be asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A session token.
    Token,
    /// The role list: the name of the role.
    Role,
    /// The credential document of a role.
    Credentials,
    /// `iam/info`.
    ProfileInfo,
    /// The name of the region.
    Region,
    /// Anything else.
    Other,
    /// Any of these.
    Any,
}

const ROLES: &str = "meta-data/iam/security-credentials";

impl Endpoint {
    pub(super) fn of(request: &Request) -> Self {
        match (request.method.as_str(), request.metadata_path()) {
            ("PUT", Some("api/token")) if request.path.starts_with("/latest/") => Self::Token,
            ("GET" | "HEAD", Some("meta-data/placement/region")) => Self::Region,
            ("GET" | "HEAD", Some("meta-data/iam/info")) => Self::ProfileInfo,
            ("GET" | "HEAD", Some(path)) => match path.strip_prefix(ROLES) {
                Some("" | "/") => Self::Role,
                Some(name) if name.starts_with('/') => Self::Credentials,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// The step of a resolution that asks for this.
    pub(super) const fn step(self) -> Option<Step> {
        match self {
            Self::Token => Some(Step::Token),
            Self::Role => Some(Step::Role),
            Self::Credentials => Some(Step::Credentials),
            Self::ProfileInfo | Self::Region | Self::Other | Self::Any => None,
        }
    }
}

impl Request {
    /// The path below its version, such as `latest`, `2021-03-23` or `1.0`.
    pub(super) fn metadata_path(&self) -> Option<&str> {
        let (version, path) = self.path.trim_start_matches('/').split_once('/')?;
        let is_dated = !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit() || c == b'-' || c == b'.');
        (version == "latest" || is_dated).then_some(path)
    }

    /// The role whose document is asked for.
    pub(super) fn role(&self) -> Option<&str> {
        self.metadata_path()?.strip_prefix(ROLES)?.strip_prefix('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::request::tests::request;

    #[test]
    fn paths_and_methods_select_the_endpoint() {
        for (line, endpoint, role) in [
            ("PUT /latest/api/token", Endpoint::Token, None),
            ("PUT /2021-03-23/api/token", Endpoint::Other, None),
            ("GET /latest/api/token", Endpoint::Other, None),
            ("GET /latest/meta-data/iam/security-credentials/", Endpoint::Role, Some("")),
            ("HEAD /2021-03-23/meta-data/iam/security-credentials?a=b", Endpoint::Role, None),
            ("GET /latest/meta-data/iam/security-credentials/team/app", Endpoint::Credentials, Some("team/app")),
            ("GET /latest/meta-data/iam/info", Endpoint::ProfileInfo, None),
            ("GET /latest/meta-data/placement/region", Endpoint::Region, None),
            ("POST /latest/meta-data/iam/info", Endpoint::Other, None),
            ("GET /latest/meta-data/", Endpoint::Other, None),
            ("GET /meta-data/iam/info", Endpoint::Other, None),
            ("GET /", Endpoint::Other, None),
        ] {
            let request = request(line);
            assert_eq!((Endpoint::of(&request), request.role()), (endpoint, role), "{line}");
        }
    }
}
