//! What an operator needs to know about each failure kind: the texts of `check`, the status page, the log and the
//! runbook.
//!
//! What was seen on the wire is the kind's own doc comment, [`Kind::when`].

use crate::domain::Kind;

/// The texts about a kind. Back-ticks enclose code.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The likely cause.
    pub cause: &'static str,
    /// What breaks, and when.
    pub breaks: &'static str,
    /// A command that confirms the cause.
    pub confirm: &'static str,
    /// What an operator does.
    pub action: &'static str,
    /// When to escalate, and to whom.
    pub escalate: &'static str,
}

const UNTIL_REFRESH: &str = "boto3 clients that are created now are bound to no credentials permanently. Existing clients work until 15 minutes before their credentials expire, up to six hours from now, and recover without a restart once this is fixed.";

const UNTIL_REFRESH_OR_ERROR: &str = "boto3 clients that are created now are bound to no credentials permanently; if the token request is what fails, and AWS_EC2_METADATA_V1_DISABLED is true, creating them raises an error instead. Existing clients work until 15 minutes before their credentials expire, up to six hours from now, and recover without a restart once this is fixed.";

const NETWORK_OWNER: &str = "To the owner of the machine's or the cluster's network, if the command shows nothing unusual, or if you cannot apply the fix yourself.";

const AWS: &str = "To AWS if it lasts longer than 15 minutes and nothing on the machine explains it: include the instance id, the zone, the time and this kind.";

const PROXY_OWNER: &str = "To the owner of the proxy or emulator that answers in place of IMDS. To AWS only if nothing stands between the machine and the real IMDS.";

const IAM_OWNER: &str = "To the owner of IAM and the launch templates, if you may not change them, or if nobody knows why they were changed: CloudTrail shows who changed them.";

const NO_ROLE: &str = "boto3 clients that are created now are bound to no credentials permanently, even after a role is attached again. Existing clients hold credentials that stay valid until they expire, unless the role itself was deleted: then AWS refuses them immediately. Their calls fail from 15 minutes before the credentials expire.";

const WHOLE_FLEET: &str = "boto3 clients that are created now are bound to no credentials permanently. Existing clients fail from 15 minutes before their credentials expire, up to six hours from now: usually the whole fleet with this role, each machine at a different time.";

/// The texts about `kind`.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one arm for each kind")]
pub const fn explanation(kind: Kind) -> Explanation {
    match kind {
        Kind::DisabledByEnvironment => Explanation {
            cause: "The variable was set on purpose to keep the SDKs away from IMDS, or was inherited from a base image or a shared environment file.",
            breaks: "Programs with the same variable in their environment get no credentials from IMDS at all, from the moment they start. Other programs are not affected; the exporter cannot see them.",
            confirm: "tr '\\0' '\\n' < /proc/PID/environ | grep AWS_EC2_METADATA_DISABLED",
            action: "If the workload should use the instance's role, remove the variable from both; if not, remove the exporter.",
            escalate: "To the owner of the image or the environment file that sets the variable.",
        },
        Kind::ConnectRefused => Explanation {
            cause: "Not an EC2 instance, a firewall rule that rejects connections, an IMDS proxy (kube2iam, kiam) that is down, or a wrong endpoint override.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "curl -m 2 -v http://169.254.169.254/ ; sudo iptables -t nat -S | grep 169.254",
            action: "Restart the IMDS proxy or fix the firewall rule; if there is neither, check AWS_EC2_METADATA_SERVICE_ENDPOINT.",
            escalate: NETWORK_OWNER,
        },
        Kind::ConnectTimeout => Explanation {
            cause: "A firewall or network policy that drops packets, a lost link-local route, a VPN that took over 169.254.0.0/16, or packets dropped at the interface's limit of 1024 a second for IMDS, DNS and NTP together.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "ip route get 169.254.169.254 ; ethtool -S eth0 | grep linklocal_allowance_exceeded",
            action: "Allow TCP port 80 to 169.254.169.254 for this network namespace; if the allowance counter grows, find the process that sends too many requests and slow it down.",
            escalate: NETWORK_OWNER,
        },
        Kind::NetworkUnreachable => Explanation {
            cause: "A missing link-local route, the IPv6 endpoint on an instance that has it disabled, a host name in the endpoint that does not resolve, or a local policy that forbids the connection.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "ip route get 169.254.169.254",
            action: "Restore the route, or go back to the IPv4 endpoint (AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE).",
            escalate: NETWORK_OWNER,
        },
        Kind::ReadTimeout => Explanation {
            cause: "IMDS or a proxy in front of it is overloaded, or answers are dropped at the interface's packet limit.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "imds-exporter check ; ethtool -S eth0 | grep linklocal_allowance_exceeded",
            action: "Find the process that sends IMDS too many requests and slow it down; restart an IMDS proxy that hangs; if IMDS itself stays slow, stop and start the instance.",
            escalate: AWS,
        },
        Kind::HopLimit => Explanation {
            cause: "The instance's hop limit for token answers is too small: each container bridge on the way uses up one hop, and the default is 1.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "aws ec2 describe-instances --instance-ids ID --query 'Reservations[].Instances[].MetadataOptions'",
            action: "aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2 (one more for each additional bridge); it takes effect immediately.",
            escalate: NETWORK_OWNER,
        },
        Kind::ConnectionClosed => Explanation {
            cause: "An IMDS proxy that is restarting, or a firewall that cuts established connections.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "imds-exporter check",
            action: "If it persists, look at the IMDS proxy's log, or at the firewall between this machine and IMDS.",
            escalate: NETWORK_OWNER,
        },
        Kind::InvalidResponse => Explanation {
            cause: "Something other than IMDS listens at the endpoint's address.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "curl -m 2 -v -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null",
            action: "Check AWS_EC2_METADATA_SERVICE_ENDPOINT and the redirection rules for 169.254.169.254.",
            escalate: PROXY_OWNER,
        },
        Kind::Intercepted => Explanation {
            cause: "A transparent HTTP proxy intercepts the traffic to 169.254.169.254.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "curl -m 2 -sv http://169.254.169.254/ 2>&1 | grep -iE '^< (HTTP|via|server)'",
            action: "Exempt 169.254.169.254 from the transparent proxy; set NO_PROXY=169.254.169.254 for the workloads.",
            escalate: NETWORK_OWNER,
        },
        Kind::TokenRejected => Explanation {
            cause: "Something between this machine and IMDS strips or changes the request's headers.",
            breaks: UNTIL_REFRESH,
            confirm: "curl -m 2 -i -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null -w '%{http_code}'",
            action: "Let the X-aws-ec2-metadata-token-ttl-seconds header through on the proxy in between.",
            escalate: PROXY_OWNER,
        },
        Kind::TokenUnsupported => Explanation {
            cause: "An IMDS emulator or proxy that supports only IMDSv1.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "curl -m 2 -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null -w '%{http_code}'",
            action: "Upgrade the emulator or proxy to a version with IMDSv2.",
            escalate: PROXY_OWNER,
        },
        Kind::ImdsDisabled => Explanation {
            cause: "IMDS is disabled for this instance (HttpEndpoint=disabled), or a local filter forbids access.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "aws ec2 describe-instances --instance-ids ID --query 'Reservations[].Instances[].MetadataOptions.HttpEndpoint'",
            action: "aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled; if it was enabled all along, fix the local filter.",
            escalate: IAM_OWNER,
        },
        Kind::TokenForbidden => Explanation {
            cause: "A proxy, a service mesh or an old kube2iam or kiam between this machine and IMDS adds an X-Forwarded-For header, for which IMDS refuses to give a token.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "curl -m 2 -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null -w '%{http_code}'",
            action: "Exempt 169.254.169.254 from the proxy or the mesh; upgrade kube2iam or kiam to a version with IMDSv2.",
            escalate: PROXY_OWNER,
        },
        Kind::Forbidden => Explanation {
            cause: "A local IMDS proxy or filter does not allow this client to get the credentials.",
            breaks: UNTIL_REFRESH,
            confirm: "imds-exporter check",
            action: "Allow this pod or user in the IMDS proxy's or filter's rules.",
            escalate: PROXY_OWNER,
        },
        Kind::Unauthorized => Explanation {
            cause: "Several IMDS emulators behind one address that do not share tokens, or a proxy that drops the token header.",
            breaks: UNTIL_REFRESH,
            confirm: "imds-exporter check",
            action: "Pin clients to one emulator, or let the X-aws-ec2-metadata-token header through.",
            escalate: PROXY_OWNER,
        },
        Kind::NoRole => Explanation {
            cause: "No instance profile is attached, or it was just detached.",
            breaks: NO_ROLE,
            confirm: "aws ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values=ID",
            action: "aws ec2 associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME; then re-create the boto3 clients of this machine.",
            escalate: IAM_OWNER,
        },
        Kind::ProfileWithoutRole => Explanation {
            cause: "The role was removed from the instance profile, or was deleted.",
            breaks: NO_ROLE,
            confirm: "aws iam get-instance-profile --instance-profile-name NAME --query InstanceProfile.Roles",
            action: "aws iam add-role-to-instance-profile --instance-profile-name NAME --role-name ROLE",
            escalate: IAM_OWNER,
        },
        Kind::ProfileNotFound => Explanation {
            cause: "The instance profile was deleted, or deleted and re-created under the same name: the instance still refers to the old one.",
            breaks: NO_ROLE,
            confirm: "aws ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values=ID",
            action: "Disassociate the instance profile and associate it again.",
            escalate: IAM_OWNER,
        },
        Kind::RoleNotFound => Explanation {
            cause: "The role is being replaced right now, or an IMDS proxy lists a role that it cannot serve.",
            breaks: NO_ROLE,
            confirm: "imds-exporter check",
            action: "Wait a minute; if it persists, look at the IMDS proxy, or associate the instance profile again.",
            escalate: IAM_OWNER,
        },
        Kind::AssumeRoleDenied => Explanation {
            cause: "The role's trust policy does not allow ec2.amazonaws.com to assume it.",
            breaks: WHOLE_FLEET,
            confirm: "aws iam get-role --role-name ROLE --query Role.AssumeRolePolicyDocument",
            action: "Allow sts:AssumeRole for the service ec2.amazonaws.com in the trust policy; IMDS notices at its next refresh, up to an hour later.",
            escalate: IAM_OWNER,
        },
        Kind::Refused => Explanation {
            cause: "A fault in IAM or STS, or an organization policy that forbids the role.",
            breaks: WHOLE_FLEET,
            confirm: "imds-exporter check",
            action: "Check the role, its policies and the AWS Health Dashboard; then open a case with AWS.",
            escalate: AWS,
        },
        Kind::MalformedDocument => Explanation {
            cause: "An IMDS emulator or proxy that answers with a web page or part of a document.",
            breaks: UNTIL_REFRESH,
            confirm: "imds-exporter check",
            action: "Look at the emulator's or proxy's log; check AWS_EC2_METADATA_SERVICE_ENDPOINT.",
            escalate: PROXY_OWNER,
        },
        Kind::IncompleteDocument => Explanation {
            cause: "A faulty IMDS emulator.",
            breaks: UNTIL_REFRESH,
            confirm: "imds-exporter check",
            action: "Fix or upgrade the emulator: AccessKeyId, SecretAccessKey, Token and Expiration must all be non-empty strings.",
            escalate: PROXY_OWNER,
        },
        Kind::InvalidTimestamp => Explanation {
            cause: "A faulty IMDS emulator; boto3 raises a parser error from client() for it.",
            breaks: "Creating a boto3 client raises an error of the date parser. Existing clients fail from 15 minutes before their credentials expire.",
            confirm: "imds-exporter check",
            action: "Fix or upgrade the emulator: timestamps look like 2026-01-31T12:00:00Z.",
            escalate: PROXY_OWNER,
        },
        Kind::Throttled => Explanation {
            cause: "Too many requests from this instance.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "ethtool -S eth0 | grep linklocal_allowance_exceeded",
            action: "Find the process that sends so many requests (aws-imds-packet-analyzer) and make it cache its credentials and its session token.",
            escalate: AWS,
        },
        Kind::ServerError => Explanation {
            cause: "A fault inside IMDS or a proxy in front of it; IMDS also answers 503 to too many requests.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "imds-exporter check",
            action: "Wait a minute; if it persists, look at the IMDS proxy, otherwise at the AWS Health Dashboard, and open a case with AWS.",
            escalate: AWS,
        },
        Kind::UnexpectedStatus => Explanation {
            cause: "Something other than IMDS answers.",
            breaks: UNTIL_REFRESH_OR_ERROR,
            confirm: "curl -m 2 -si http://169.254.169.254/latest/meta-data/ -o /dev/null -w '%{http_code}'",
            action: "Check AWS_EC2_METADATA_SERVICE_ENDPOINT and the redirection rules for 169.254.169.254.",
            escalate: PROXY_OWNER,
        },
    }
}
