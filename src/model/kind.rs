//! The closed list of failure kinds, each with what a person needs to know about it.
//!
//! This is the only place where a kind is declared: labels, tables, pages and the runbook follow from it.

use std::fmt;

use serde::Serialize;

macro_rules! kinds {
    ($($variant:ident = $label:literal {
        when: $when:literal,
        cause: $cause:literal,
        confirm: $confirm:literal,
        action: $action:literal,
    })+) => {
        /// Why a poll failed. The label is a contract with rules and dashboards.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Kind {
            $(#[doc = $when] #[serde(rename = $label)] $variant,)+
        }

        impl Kind {
            /// Every kind, in the order in which a resolution meets them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value of the `kind` label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// What was seen on the wire.
            #[must_use]
            pub const fn when(self) -> &'static str {
                match self { $(Self::$variant => $when,)+ }
            }

            /// What is likely to be behind it.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause,)+ }
            }

            /// A command, or a place, that confirms it.
            #[must_use]
            pub const fn confirm(self) -> &'static str {
                match self { $(Self::$variant => $confirm,)+ }
            }

            /// What an operator does.
            #[must_use]
            pub const fn action(self) -> &'static str {
                match self { $(Self::$variant => $action,)+ }
            }
        }
    };
}

kinds! {
    DisabledByEnvironment = "disabled_by_environment" {
        when: "`AWS_EC2_METADATA_DISABLED=true` in the exporter's own environment: nothing is sent.",
        cause: "The variable was set on purpose to keep the SDKs away from IMDS, or was inherited from a base image or a shared environment file.",
        confirm: "tr '\\0' '\\n' < /proc/PID/environ | grep AWS_EC2_METADATA_DISABLED",
        action: "If the workload shall use the instance's role, remove the variable from both; if not, remove the exporter.",
    }
    ConnectRefused = "connect_refused" {
        when: "The TCP connection was refused.",
        cause: "Not an EC2 instance, a firewall rule that rejects, an IMDS proxy (kube2iam, kiam) that is down, or a wrong endpoint override.",
        confirm: "curl -m 2 -v http://169.254.169.254/ ; sudo iptables -t nat -S | grep 169.254",
        action: "Restart the IMDS proxy or mend the firewall rule; without either, check AWS_EC2_METADATA_SERVICE_ENDPOINT.",
    }
    ConnectTimeout = "connect_timeout" {
        when: "No TCP connection in time.",
        cause: "A firewall or network policy that drops, a lost link-local route, a VPN that took 169.254.0.0/16, or packets dropped at the interface's limit of 1024 a second for IMDS, DNS and NTP together.",
        confirm: "ip route get 169.254.169.254 ; ethtool -S eth0 | grep linklocal_allowance_exceeded",
        action: "Allow TCP port 80 to 169.254.169.254 for this network namespace; if the allowance counter grows, find and slow down who asks so often.",
    }
    NetworkUnreachable = "network_unreachable" {
        when: "No route, host or network unreachable, or the local system refused to send.",
        cause: "A missing link-local route, the IPv6 endpoint on an instance that has it switched off, a name in the endpoint that does not resolve, or a local policy that forbids the connection.",
        confirm: "ip route get 169.254.169.254",
        action: "Restore the route, or go back to the IPv4 endpoint (AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE).",
    }
    ReadTimeout = "read_timeout" {
        when: "Connected and asked, no whole answer in time.",
        cause: "IMDS or a proxy before it is overloaded, or answers are dropped at the interface's packet limit.",
        confirm: "imds-exporter check ; ethtool -S eth0 | grep linklocal_allowance_exceeded",
        action: "Find and slow down who asks IMDS so often; restart an IMDS proxy that hangs; if IMDS itself stays slow, stop and start the instance.",
    }
    HopLimit = "hop_limit" {
        when: "The token request times out after connecting, while another request is answered at once: the answer to the token request dies on the way.",
        cause: "The instance's hop limit for token answers is too small: each container bridge on the way takes one hop, and the default is 1.",
        confirm: "aws ec2 describe-instances --instance-ids ID --query 'Reservations[].Instances[].MetadataOptions'",
        action: "aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2 (one more for each further bridge); it takes effect at once.",
    }
    ConnectionClosed = "connection_closed" {
        when: "The connection was reset or ended in the middle of an answer.",
        cause: "An IMDS proxy that restarts, or a firewall that cuts established connections.",
        confirm: "imds-exporter check",
        action: "If it stays, look at the IMDS proxy's log, or at the firewall between here and IMDS.",
    }
    InvalidResponse = "invalid_response" {
        when: "What came is not HTTP, or its body is too large, not text, or not what the step asked for.",
        cause: "Something else listens at the endpoint's address.",
        confirm: "curl -m 2 -v -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null",
        action: "Check AWS_EC2_METADATA_SERVICE_ENDPOINT and the redirection rules for 169.254.169.254.",
    }
    Intercepted = "intercepted" {
        when: "The answer is not IMDS's: status 407 or 411, or an error with a proxy's `Via` header.",
        cause: "A transparent HTTP proxy takes the traffic to 169.254.169.254.",
        confirm: "curl -m 2 -sv http://169.254.169.254/ 2>&1 | grep -iE '^< (HTTP|via|server)'",
        action: "Exempt 169.254.169.254 from the transparent proxy; set NO_PROXY=169.254.169.254 for the workloads.",
    }
    TokenRejected = "token_rejected" {
        when: "The token request was answered 400.",
        cause: "Something between here and IMDS strips or changes the request's headers.",
        confirm: "curl -m 2 -i -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null -w '%{http_code}'",
        action: "Let the X-aws-ec2-metadata-token-ttl-seconds header through on the proxy in between.",
    }
    TokenUnsupported = "token_unsupported" {
        when: "The token request was answered 404 or 405.",
        cause: "An IMDS emulator or proxy that knows only IMDSv1.",
        confirm: "curl -m 2 -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token -o /dev/null -w '%{http_code}'",
        action: "Upgrade the emulator or proxy to one with IMDSv2.",
    }
    ImdsDisabled = "imds_disabled" {
        when: "The token request was answered 403.",
        cause: "IMDS is switched off for this instance (HttpEndpoint=disabled), or a local filter forbids it.",
        confirm: "aws ec2 describe-instances --instance-ids ID --query 'Reservations[].Instances[].MetadataOptions.HttpEndpoint'",
        action: "aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled; if it was enabled all along, mend the local filter.",
    }
    Forbidden = "forbidden" {
        when: "A GET was answered 403 although the token request went well.",
        cause: "A local IMDS proxy or filter forbids this client the credentials.",
        confirm: "imds-exporter check",
        action: "Allow this pod or user in the IMDS proxy's or filter's rules.",
    }
    Unauthorized = "unauthorized" {
        when: "A GET was answered 401 with a fresh session token.",
        cause: "Several IMDS emulators behind one address that do not share tokens, or a proxy that drops the token header.",
        confirm: "imds-exporter check",
        action: "Pin clients to one emulator, or let the X-aws-ec2-metadata-token header through.",
    }
    NoRole = "no_role" {
        when: "The role list is 404 or empty, and so is the instance profile.",
        cause: "No instance profile is attached, or it was just detached.",
        confirm: "aws ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values=ID",
        action: "aws ec2 associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME; then create the boto3 clients of this machine again.",
    }
    ProfileWithoutRole = "profile_without_role" {
        when: "The role list is 404 or empty, but an instance profile is attached.",
        cause: "The role was removed from the instance profile, or was deleted.",
        confirm: "aws iam get-instance-profile --instance-profile-name NAME --query InstanceProfile.Roles",
        action: "aws iam add-role-to-instance-profile --instance-profile-name NAME --role-name ROLE",
    }
    ProfileNotFound = "profile_not_found" {
        when: "IMDS answers with the code `InstanceProfileNotFound`.",
        cause: "The instance profile was deleted, or deleted and created again under the same name: the instance still refers to the old one.",
        confirm: "aws ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values=ID",
        action: "Disassociate the instance profile and associate it again.",
    }
    RoleNotFound = "role_not_found" {
        when: "The role that was listed is answered 404.",
        cause: "The role is being replaced at this moment, or an IMDS proxy lists a role that it cannot serve.",
        confirm: "imds-exporter check",
        action: "Wait a minute; if it stays, look at the IMDS proxy, or associate the instance profile again.",
    }
    AssumeRoleDenied = "assume_role_denied" {
        when: "The credential document has the code `AssumeRoleUnauthorizedAccess`.",
        cause: "The role's trust policy does not let ec2.amazonaws.com assume it.",
        confirm: "aws iam get-role --role-name ROLE --query Role.AssumeRolePolicyDocument",
        action: "Allow sts:AssumeRole for the service ec2.amazonaws.com in the trust policy; IMDS notices at its next refresh, up to an hour later.",
    }
    Refused = "refused" {
        when: "The credential document has another code that is not `Success`.",
        cause: "A fault on the side of IAM or STS, or a policy of the organisation that forbids the role.",
        confirm: "imds-exporter check",
        action: "Check the role, its policies and the AWS Health Dashboard; then open a case with AWS.",
    }
    MalformedDocument = "malformed_document" {
        when: "The credential document or `iam/info` is not a JSON object.",
        cause: "An IMDS emulator or proxy that answers with a page or half a document.",
        confirm: "imds-exporter check",
        action: "Look at the emulator's or proxy's log; check AWS_EC2_METADATA_SERVICE_ENDPOINT.",
    }
    IncompleteDocument = "incomplete_document" {
        when: "A field of the credential document is missing, empty, null or not a string.",
        cause: "An IMDS emulator with a fault.",
        confirm: "imds-exporter check",
        action: "Mend or upgrade the emulator: AccessKeyId, SecretAccessKey, Token and Expiration must all be non-empty strings.",
    }
    InvalidTimestamp = "invalid_timestamp" {
        when: "`Expiration` or `LastUpdated` is no RFC 3339 instant.",
        cause: "An IMDS emulator with a fault; boto3 raises a parser error from client() for it.",
        confirm: "imds-exporter check",
        action: "Mend or upgrade the emulator: instants look like 2026-01-31T12:00:00Z.",
    }
    Throttled = "throttled" {
        when: "IMDS answered 429.",
        cause: "Too many requests from this instance.",
        confirm: "ethtool -S eth0 | grep linklocal_allowance_exceeded",
        action: "Find who asks so often (aws-imds-packet-analyzer) and let it keep its credentials and its session token.",
    }
    ServerError = "server_error" {
        when: "IMDS answered with a 5xx status.",
        cause: "A fault inside IMDS or the proxy before it; IMDS answers 503 also to too many requests.",
        confirm: "imds-exporter check",
        action: "Wait a minute; if it stays, look at the IMDS proxy, else at the AWS Health Dashboard, and open a case with AWS.",
    }
    UnexpectedStatus = "unexpected_status" {
        when: "Any other status, redirects among them.",
        cause: "Something else than IMDS answers.",
        confirm: "curl -m 2 -si http://169.254.169.254/latest/meta-data/ -o /dev/null -w '%{http_code}'",
        action: "Check AWS_EC2_METADATA_SERVICE_ENDPOINT and the redirection rules for 169.254.169.254.",
    }
}

impl Kind {
    /// Whether IMDS itself says with this kind that no role is attached.
    #[must_use]
    pub const fn says_no_role(self) -> bool {
        matches!(self, Self::NoRole | Self::ProfileWithoutRole | Self::ProfileNotFound)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}
