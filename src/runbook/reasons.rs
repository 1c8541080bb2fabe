//! What an operator needs to know about each reason why a signed call failed.
//!
//! What was seen is the reason's own doc comment, [`Reason::when`].

use super::kinds::Explanation;
use crate::domain::signed_call::Reason;

const REFUSED: &str = "Every call that clients sign with the instance's credentials is refused likewise, now: those of existing clients and of new ones.";

const NOT_ASKED: &str = "Nothing by itself: whether AWS accepts the credentials is unknown. Workloads that reach AWS the same way (STS, or any service) fail as this call does.";

const CHECK: &str = "imds-exporter check --signed";

const IAM_OWNER: &str = "To the owner of IAM and the organization's policies: CloudTrail shows who changed them.";

const NETWORK_OWNER: &str =
    "To the owner of the network, of the VPC endpoints or of the proxy, if you cannot apply the fix yourself.";

const AWS: &str =
    "To AWS if it lasts longer than 15 minutes: include the instance id, the region, the time and this reason.";

/// The texts about `reason`.
#[must_use]
pub const fn reason_explanation(reason: Reason) -> Explanation {
    match reason {
        Reason::ExpiredToken => Explanation {
            cause: "IMDS still serves credentials whose time is over: it could not get newer ones.",
            breaks: REFUSED,
            confirm: CHECK,
            action: "See ImdsCredentialsExpired: check that the role and its trust policy exist; restarting workloads does not help while IMDS serves these credentials. Then open a case with AWS.",
            escalate: AWS,
        },
        Reason::InvalidToken => Explanation {
            cause: "The role was deleted, or deleted and created again, after IMDS fetched these credentials; the region is not enabled for the account; or the credentials belong to another partition or an emulator than the STS that was asked.",
            breaks: REFUSED,
            confirm: "aws iam get-role --role-name ROLE --query Role.RoleId",
            action: "If the role was re-created, attach the instance profile again, so that IMDS fetches new credentials. Otherwise check AWS_REGION, AWS_ENDPOINT_URL_STS and AWS_EC2_METADATA_SERVICE_ENDPOINT of the exporter.",
            escalate: IAM_OWNER,
        },
        Reason::Signature => Explanation {
            cause: "A proxy between here and STS changes the request, or IMDS serves a secret key that does not belong to the key id.",
            breaks: REFUSED,
            confirm: CHECK,
            action: "Compare with a call that avoids the proxy (NO_PROXY); look for a proxy that rewrites headers or the host. Without one, open a case with AWS.",
            escalate: NETWORK_OWNER,
        },
        Reason::ClockSkew => Explanation {
            cause: "The clock of this machine is wrong by more than five minutes: a machine that was suspended, or without a time server.",
            breaks: REFUSED,
            confirm: "chronyc tracking",
            action: "Fix the clock: let chrony use the time server at 169.254.169.123.",
            escalate: "To the owner of the machine's image or hypervisor, if the clock goes wrong again.",
        },
        Reason::AccessDenied => Explanation {
            cause: "A policy explicitly denies the role's sessions: one that revokes them (AWSRevokeOlderSessions), a service control policy, or a condition on `ec2:RoleDelivery` that refuses credentials which IMDSv1 delivered.",
            breaks: REFUSED,
            confirm: "aws iam list-role-policies --role-name ROLE",
            action: "If the sessions were revoked on purpose, wait for the next rotation, which brings a new session, at most an hour later. If imds_v1_fallback_active is 1, repair IMDSv2. Otherwise look for the policy with the denial: GetCallerIdentity needs no permission.",
            escalate: IAM_OWNER,
        },
        Reason::Throttled => Explanation {
            cause: "The account makes too many calls to STS in this region: often a workload that asks for the identity or for a role at every request.",
            breaks: NOT_ASKED,
            confirm: CHECK,
            action: "Find the caller in CloudTrail; if these are very many exporters, set a longer IMDS_EXPORTER_SIGNED_CALL_INTERVAL.",
            escalate: AWS,
        },
        Reason::ServerError => Explanation {
            cause: "A fault in STS, or in a proxy in front of it.",
            breaks: NOT_ASKED,
            confirm: CHECK,
            action: "Wait a minute; if it persists, look at the proxy, then at the AWS Health Dashboard.",
            escalate: AWS,
        },
        Reason::Connect => Explanation {
            cause: "No way to STS from here: the filter of the systemd unit (`IPAddressDeny=`) or a network policy, which admit IMDS alone unless told otherwise; a private subnet without NAT or a VPC endpoint for STS, a security group that does not allow port 443, no name resolution, or a proxy that is down or refuses the host.",
            breaks: NOT_ASKED,
            confirm: "systemctl show -p IPAddressDeny imds-exporter ; curl -m 5 -sv https://sts.REGION.amazonaws.com/",
            action: "Under the systemd unit, install the drop-in signed-call.conf (a shell is not under the unit's filter: `curl` succeeds there); in the DaemonSet, add the component signed-call. Otherwise allow port 443 to STS, create the VPC endpoint com.amazonaws.REGION.sts, or set HTTPS_PROXY for the exporter as for the workload. If nothing here may reach STS, unset IMDS_EXPORTER_SIGNED_CALL_INTERVAL.",
            escalate: NETWORK_OWNER,
        },
        Reason::Tls => Explanation {
            cause: "A proxy that inspects TLS with an authority of its own, an endpoint with another name in its certificate, or a clock that is wrong by months.",
            breaks: NOT_ASKED,
            confirm: "openssl s_client -connect sts.REGION.amazonaws.com:443 -servername sts.REGION.amazonaws.com",
            action: "Name the file with the proxy's authority in AWS_CA_BUNDLE, or exempt STS from the inspection; check AWS_ENDPOINT_URL_STS.",
            escalate: NETWORK_OWNER,
        },
        Reason::Timeout => Explanation {
            cause: "A proxy or firewall that accepts connections and then drops what is sent, or a very slow path to STS.",
            breaks: NOT_ASKED,
            confirm: "curl -m 5 -sv https://sts.REGION.amazonaws.com/",
            action: "Look at the proxy and the firewall between here and STS.",
            escalate: NETWORK_OWNER,
        },
        Reason::Unexpected => Explanation {
            cause: "Something other than STS answers (a portal, a proxy's error page), the endpoint is of another service, the region is wrong or not enabled, or IMDS does not name a region.",
            breaks: NOT_ASKED,
            confirm: CHECK,
            action: "Check AWS_REGION and AWS_ENDPOINT_URL_STS of the exporter; set AWS_REGION where IMDS does not name one.",
            escalate: NETWORK_OWNER,
        },
    }
}
