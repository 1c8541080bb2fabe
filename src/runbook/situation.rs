//! Which advice about a kind fits: the decision from what is known of the place and of the answers.
//!
//! Owns the closed list of situations. Must not know their texts.

use strum::{EnumMessage, EnumString, IntoStaticStr};

use crate::domain::place::{Circumstances, Platform};
use crate::domain::{Kind, NetworkError, Server};

/// A situation in which other advice fits than usually. Its doc comment is its heading in the runbook.
#[derive(Clone, Copy, Debug, EnumMessage, EnumString, Eq, IntoStaticStr, Ord, PartialEq, PartialOrd)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Situation {
    /// If the answers are not from EC2
    NotEc2,
    /// If an IMDS proxy answers (kube2iam, kiam)
    IamProxy,
    /// If the answer is not from IMDS
    NotFromImds,
    /// On Kubernetes
    Kubernetes,
    /// On ECS
    Ecs,
    /// If the endpoint is an IPv6 address
    NoIpv6,
    /// If the host is unreachable
    HostUnreachable,
    /// If the route is a blackhole
    BlackholeRoute,
    /// If a local policy forbids it
    LocalFirewall,
    /// If no local port is left
    NoLocalPort,
    /// If the address family is switched off
    NoAddressFamily,
    /// If the endpoint's name does not resolve
    NoSuchName,
}

impl Situation {
    /// The situation of a failure of this kind; `None` if the usual advice fits.
    pub(super) const fn of(kind: Kind, circumstances: Circumstances) -> Option<Self> {
        let Circumstances { place, evidence } = circumstances;
        let from_imds = matches!(evidence.server, Some(Server::Ec2));
        // Without an answer, nothing is known of who answers.
        let (has_token, has_none) = match evidence.token_status {
            Some(status) => (status == 200, status != 200),
            None => (false, false),
        };
        let in_a_pod = matches!(place.platform, Platform::Kubernetes);
        match kind {
            // The proxies pass token requests on to IMDS, and answer these themselves.
            Kind::NoRole | Kind::ProfileWithoutRole | Kind::RoleNotFound | Kind::Forbidden
                if has_token && !from_imds =>
            {
                Some(Self::IamProxy)
            }
            // kube2iam calls itself `EC2ws`; `iam/info` is then that of the node.
            Kind::ProfileWithoutRole | Kind::RoleNotFound | Kind::Forbidden if in_a_pod => Some(Self::IamProxy),
            // kube2iam looks for a pod's role, and kiam for the pod, for longer than an SDK waits. A role that cannot be
            // assumed, or is not permitted, is a 500.
            Kind::ReadTimeout | Kind::ServerError if in_a_pod && has_token => Some(Self::IamProxy),
            // An old kiam blocks token requests.
            Kind::NoRole if in_a_pod && has_none && evidence.server.is_none() => Some(Self::IamProxy),
            Kind::NoRole | Kind::TokenRejected | Kind::TokenUnsupported if has_none && !from_imds => Some(Self::NotEc2),
            Kind::ImdsDisabled if has_none && !from_imds => Some(Self::NotFromImds),
            Kind::NetworkUnreachable => match evidence.network_error {
                Some(NetworkError::NoRoute) if place.ipv6 => Some(Self::NoIpv6),
                Some(NetworkError::NoRoute | NetworkError::Other) | None => None,
                Some(NetworkError::HostUnreachable) => Some(Self::HostUnreachable),
                Some(NetworkError::BlackholeRoute) => Some(Self::BlackholeRoute),
                Some(NetworkError::Forbidden) => Some(Self::LocalFirewall),
                Some(NetworkError::NoLocalPort) => Some(Self::NoLocalPort),
                Some(NetworkError::NoAddressFamily) => Some(Self::NoAddressFamily),
                Some(NetworkError::NoSuchName) => Some(Self::NoSuchName),
            },
            Kind::HopLimit | Kind::ConnectTimeout if matches!(place.platform, Platform::Ecs) => Some(Self::Ecs),
            Kind::HopLimit | Kind::ConnectTimeout | Kind::ConnectRefused | Kind::TokenForbidden if in_a_pod => {
                Some(Self::Kubernetes)
            }
            _ => None,
        }
    }

    /// When this is the situation, as the head of its texts in the runbook.
    pub(super) fn heading(self) -> &'static str {
        self.get_documentation().expect("every situation has a doc comment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Evidence;
    use crate::domain::place::Place;

    const EC2: Option<Server> = Some(Server::Ec2);
    const OTHER: Option<Server> = Some(Server::Other);

    fn answers(token_status: u16, server: Option<Server>) -> Circumstances {
        let evidence = Evidence { token_status: Some(token_status), server, ..Evidence::default() };
        Circumstances { evidence, ..Circumstances::default() }
    }

    fn on(platform: Platform) -> Circumstances {
        Circumstances { place: Place { platform, ..Place::default() }, ..answers(200, EC2) }
    }

    fn network(error: NetworkError, ipv6: bool) -> Circumstances {
        let evidence = Evidence { network_error: Some(error), ..Evidence::default() };
        Circumstances { place: Place { ipv6, ..Place::default() }, evidence }
    }

    #[test]
    fn the_answers_of_known_systems_get_the_advice_that_fits_them() {
        let in_a_pod = |status, server| Circumstances {
            place: Place { platform: Platform::Kubernetes, ..Place::default() },
            ..answers(status, server)
        };
        let no_answer_in_a_pod = Circumstances { evidence: Evidence::default(), ..on(Platform::Kubernetes) };
        for (system, kind, circumstances, situation) in [
            ("EC2 without a profile", Kind::NoRole, answers(200, EC2), None),
            ("the same on a node", Kind::NoRole, in_a_pod(200, EC2), None),
            ("EC2 with an empty profile", Kind::ProfileWithoutRole, answers(200, EC2), None),
            ("kube2iam, no role", Kind::ProfileWithoutRole, in_a_pod(200, EC2), Some(Situation::IamProxy)),
            ("old kube2iam, no role", Kind::ProfileWithoutRole, in_a_pod(403, EC2), Some(Situation::IamProxy)),
            ("kiam, no role", Kind::NoRole, in_a_pod(200, None), Some(Situation::IamProxy)),
            ("old kiam, no role", Kind::NoRole, in_a_pod(404, None), Some(Situation::IamProxy)),
            ("kube2iam, the role has changed", Kind::Forbidden, in_a_pod(200, EC2), Some(Situation::IamProxy)),
            ("kube2iam, the pod is gone", Kind::RoleNotFound, in_a_pod(200, EC2), Some(Situation::IamProxy)),
            ("kube2iam, no trust", Kind::ServerError, in_a_pod(200, EC2), Some(Situation::IamProxy)),
            ("kiam, not permitted", Kind::ServerError, in_a_pod(200, None), Some(Situation::IamProxy)),
            ("another proxy, 404 to the document", Kind::RoleNotFound, in_a_pod(200, OTHER), Some(Situation::IamProxy)),
            ("kube2iam, slow, no role", Kind::ReadTimeout, in_a_pod(200, EC2), Some(Situation::IamProxy)),
            ("EC2 that is overloaded", Kind::ReadTimeout, answers(200, EC2), None),
            ("no token in time, in a pod", Kind::ReadTimeout, no_answer_in_a_pod, None),
            ("EC2 while the role is replaced", Kind::RoleNotFound, answers(200, EC2), None),
            ("OpenStack, 404 to everything", Kind::NoRole, answers(404, None), Some(Situation::NotEc2)),
            ("the same, v1 disabled", Kind::TokenUnsupported, answers(404, None), Some(Situation::NotEc2)),
            ("Google Cloud, in a pod", Kind::NoRole, in_a_pod(404, OTHER), Some(Situation::NotEc2)),
            ("Envoy without a route", Kind::NoRole, answers(404, OTHER), Some(Situation::NotEc2)),
            ("Azure, 400 to everything", Kind::TokenRejected, answers(400, OTHER), Some(Situation::NotEc2)),
            ("EC2 behind a proxy that strips headers", Kind::TokenRejected, answers(400, EC2), None),
            ("EC2 with IMDS disabled", Kind::ImdsDisabled, answers(403, EC2), None),
            ("a local filter", Kind::ImdsDisabled, answers(403, None), Some(Situation::NotFromImds)),
            ("Envoy that adds X-Forwarded-For", Kind::TokenForbidden, answers(403, EC2), None),
            ("no answer is known", Kind::TokenRejected, Circumstances::default(), None),
        ] {
            assert_eq!(Situation::of(kind, circumstances), situation, "{system}");
        }
    }

    #[test]
    fn some_advice_depends_on_what_runs_the_program() {
        for (kind, in_a_pod, in_a_task) in [
            (Kind::HopLimit, Some(Situation::Kubernetes), Some(Situation::Ecs)),
            (Kind::ConnectTimeout, Some(Situation::Kubernetes), Some(Situation::Ecs)),
            (Kind::ConnectRefused, Some(Situation::Kubernetes), None),
            (Kind::TokenForbidden, Some(Situation::Kubernetes), None),
            (Kind::ServerError, Some(Situation::IamProxy), None),
            (Kind::Throttled, None, None),
        ] {
            let decided = [Platform::Host, Platform::Kubernetes, Platform::Ecs].map(|p| Situation::of(kind, on(p)));
            assert_eq!(decided, [None, in_a_pod, in_a_task], "{kind}");
        }
    }

    #[test]
    fn an_unreachable_network_has_the_advice_of_its_error() {
        for (error, ipv6, situation) in [
            (NetworkError::NoRoute, false, None),
            (NetworkError::NoRoute, true, Some(Situation::NoIpv6)),
            (NetworkError::HostUnreachable, false, Some(Situation::HostUnreachable)),
            (NetworkError::BlackholeRoute, false, Some(Situation::BlackholeRoute)),
            (NetworkError::Forbidden, true, Some(Situation::LocalFirewall)),
            (NetworkError::NoLocalPort, false, Some(Situation::NoLocalPort)),
            (NetworkError::NoAddressFamily, true, Some(Situation::NoAddressFamily)),
            (NetworkError::NoSuchName, false, Some(Situation::NoSuchName)),
            (NetworkError::Other, true, None),
        ] {
            assert_eq!(Situation::of(Kind::NetworkUnreachable, network(error, ipv6)), situation, "{error:?}");
        }
    }
}
