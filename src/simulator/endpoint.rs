//! What a request asks for.
//!
//! Owns the paths. Must not know what is answered.

use super::request::Request;
use crate::domain::Step;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A session token.
    Token,
    /// A session token under a version's path, which IMDS forbids.
    VersionedToken,
    /// The name of the role.
    RoleList,
    /// The document of the role of this name.
    Document(String),
    /// `iam/info`.
    ProfileInfo,
    /// The name of the region.
    Region,
    /// A path that there is not.
    Unknown,
    /// A method that the path does not have.
    WrongMethod,
}

impl Endpoint {
    pub(super) fn of(request: &Request) -> Self {
        let (version, path) = request.path.trim_start_matches('/').split_once('/').unwrap_or_default();
        if version != "latest" && !is_dated(version) {
            return Self::Unknown;
        }
        match (request.method.as_str(), path) {
            ("PUT", "api/token") if version == "latest" => Self::Token,
            ("PUT", "api/token") => Self::VersionedToken,
            (_, "api/token") => Self::WrongMethod,
            ("GET" | "HEAD", "meta-data/placement/region") => Self::Region,
            ("GET" | "HEAD", path) => match path.strip_prefix("meta-data/iam/").unwrap_or_default() {
                "info" => Self::ProfileInfo,
                "security-credentials" | "security-credentials/" => Self::RoleList,
                path => match path.strip_prefix("security-credentials/") {
                    Some(role) => Self::Document(role.to_owned()),
                    None => Self::Unknown,
                },
            },
            _ => Self::WrongMethod,
        }
    }

    /// Whether this is what a resolution asks for at `step`.
    pub(super) const fn is_of(&self, step: Step) -> bool {
        match step {
            Step::Token => matches!(self, Self::Token | Self::VersionedToken),
            Step::Role => matches!(self, Self::RoleList),
            Step::Credentials => matches!(self, Self::Document(_)),
        }
    }

    /// Whether a resolution that goes wrong at `step` would ask for this there or later.
    pub(super) const fn is_behind(&self, step: Step) -> bool {
        match step {
            Step::Token => true,
            Step::Role => !matches!(self, Self::Token | Self::VersionedToken),
            Step::Credentials => matches!(self, Self::Document(_)),
        }
    }
}

/// Whether this is a version such as `2021-03-23` or `1.0`.
fn is_dated(version: &str) -> bool {
    !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit() || c == b'-' || c == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::request::tests::request;

    #[test]
    fn paths_and_methods_select_the_endpoint() {
        for (line, endpoint) in [
            ("PUT /latest/api/token", Endpoint::Token),
            ("PUT /2021-03-23/api/token", Endpoint::VersionedToken),
            ("GET /latest/api/token", Endpoint::WrongMethod),
            ("GET /latest/meta-data/iam/security-credentials/", Endpoint::RoleList),
            ("GET /latest/meta-data/iam/security-credentials", Endpoint::RoleList),
            ("HEAD /2021-03-23/meta-data/iam/security-credentials/?a=b", Endpoint::RoleList),
            ("GET /latest/meta-data/iam/security-credentials/a", Endpoint::Document("a".to_owned())),
            ("GET /latest/meta-data/iam/info", Endpoint::ProfileInfo),
            ("GET /latest/meta-data/placement/region", Endpoint::Region),
            ("POST /latest/meta-data/iam/info", Endpoint::WrongMethod),
            ("GET /latest/meta-data/", Endpoint::Unknown),
            ("GET /meta-data/iam/info", Endpoint::Unknown),
            ("GET /", Endpoint::Unknown),
        ] {
            assert_eq!(Endpoint::of(&request(line)), endpoint, "{line}");
        }
    }
}
