//! The table of variables: from it come the struct that `envy` fills, `--help` and the README.

use serde::Deserialize;

/// A variable that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its full name.
    pub name: &'static str,
    /// What holds without it, as people write it.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

macro_rules! variables {
    ($($field:ident = $name:literal, default $default:literal, $meaning:literal;)+) => {
        /// The variables as they stand in the environment.
        #[derive(Debug, Default, Deserialize)]
        pub(super) struct Raw {
            $(pub(super) $field: Option<String>,)+
        }

        /// Every variable that is read.
        pub const VARIABLES: &[Variable] = &[$(Variable { name: $name, default: $default, meaning: $meaning },)+];

        #[cfg(test)]
        const FIELDS: &[&str] = &[$(stringify!($field),)+];
    };
}

variables! {
    imds_exporter_listen_address = "IMDS_EXPORTER_LISTEN_ADDRESS", default ":10169",
        "Address and port to listen on, or several separated by commas; without an address, all addresses, IPv6 and IPv4. Port 0 selects a free port.";
    imds_exporter_probe_listen_address = "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", default "none",
        "Address and port, or several separated by commas, that serve only /-/healthy, /-/ready, /-/startup and /-/clients, without TLS or a password: for the kubelet's probes when a web configuration is in use.";
    imds_exporter_web_config_file = "IMDS_EXPORTER_WEB_CONFIG_FILE", default "none",
        "File that configures TLS and basic authentication: the web-config.yml format of Prometheus exporters.";
    imds_exporter_poll_interval = "IMDS_EXPORTER_POLL_INTERVAL", default "15s",
        "Time between polls, from 1s to 1h; the exporter polls every 5s while polls fail.";
    imds_exporter_timeout = "IMDS_EXPORTER_TIMEOUT", default "1s",
        "Timeout of a connection to IMDS and of each read; boto3's default is 1s. Takes precedence over AWS_METADATA_SERVICE_TIMEOUT.";
    imds_exporter_expected_role = "IMDS_EXPORTER_EXPECTED_ROLE", default "none",
        "Name of the expected role; enables imds_role_expected.";
    imds_exporter_watch_processes = "IMDS_EXPORTER_WATCH_PROCESSES", default "none",
        "Regular expression for the command lines of the processes to watch: they are suspects if they started during an outage; needs a shared PID namespace.";
    imds_exporter_workload = "IMDS_EXPORTER_WORKLOAD", default "independent",
        "Which workload starts with the exporter: independent (none: hosts, DaemonSets), starts-with-exporter (a sidecar that holds nothing back) or starts-when-ready (a sidecar whose /-/startup or wait holds the workload back). The last two need IMDS_EXPORTER_STATE_FILE.";
    imds_exporter_state_file = "IMDS_EXPORTER_STATE_FILE", default "none",
        "File that keeps the outages across restarts of the exporter, and within one boot of the machine also the expiration and the role of the last document and the clients of the declared workload. It contains no secret.";
    imds_exporter_signed_call_interval = "IMDS_EXPORTER_SIGNED_CALL_INTERVAL", default "none",
        "Time between signed calls, from 1m to 24h; enables imds_signed_call_up. A signed call is an sts:GetCallerIdentity with the fetched credentials, after a successful poll: it needs no permission and tells whether AWS accepts them. It goes through the proxy in HTTPS_PROXY, unless NO_PROXY exempts the host.";
    imds_exporter_log = "IMDS_EXPORTER_LOG", default "info",
        "Log level, or a filter such as imds_exporter=debug.";
    imds_exporter_log_format = "IMDS_EXPORTER_LOG_FORMAT", default "text",
        "Log format: text or json.";
    aws_ec2_metadata_service_endpoint = "AWS_EC2_METADATA_SERVICE_ENDPOINT", default "http://169.254.169.254",
        "URL of IMDS, as for the SDKs; takes precedence over the endpoint mode.";
    aws_ec2_metadata_service_endpoint_mode = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", default "IPv4",
        "Address family of IMDS: IPv4 or IPv6, as for the SDKs.";
    aws_ec2_metadata_disabled = "AWS_EC2_METADATA_DISABLED", default "false",
        "If true, no requests are sent to IMDS, as for the SDKs.";
    aws_ec2_metadata_v1_disabled = "AWS_EC2_METADATA_V1_DISABLED", default "false",
        "If true, no requests are sent without a session token, as for the SDKs. Set it for the workload and the exporter alike, or for neither: where the token request fails, boto3 then raises an error instead of creating a client without credentials.";
    aws_access_key_id = "AWS_ACCESS_KEY_ID", default "none",
        "If set, the SDKs do not ask IMDS: see imds_chain_shadowed. Its value is not kept.";
    aws_web_identity_token_file = "AWS_WEB_IDENTITY_TOKEN_FILE", default "none",
        "If set (IRSA), the SDKs do not ask IMDS: see imds_chain_shadowed.";
    aws_container_credentials_relative_uri = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", default "none",
        "If set (ECS task roles), the SDKs do not ask IMDS: see imds_chain_shadowed.";
    aws_container_credentials_full_uri = "AWS_CONTAINER_CREDENTIALS_FULL_URI", default "none",
        "If set (EKS Pod Identity), the SDKs do not ask IMDS: see imds_chain_shadowed.";
    aws_shared_credentials_file = "AWS_SHARED_CREDENTIALS_FILE", default "~/.aws/credentials",
        "If this file has credentials for the profile, the SDKs do not ask IMDS: see imds_chain_shadowed. Read at the start; no value in it is kept.";
    aws_config_file = "AWS_CONFIG_FILE", default "~/.aws/config",
        "Likewise.";
    aws_profile = "AWS_PROFILE", default "default",
        "The profile in these files, as for the SDKs.";
    aws_default_profile = "AWS_DEFAULT_PROFILE", default "none",
        "The same; takes precedence over AWS_PROFILE, as for boto3.";
    aws_region = "AWS_REGION", default "the region that IMDS names",
        "Region of the STS that signed calls go to, as for the SDKs.";
    aws_default_region = "AWS_DEFAULT_REGION", default "none",
        "The same, if AWS_REGION is not set, as for boto3.";
    aws_endpoint_url_sts = "AWS_ENDPOINT_URL_STS", default "the region's STS",
        "URL of STS, as for the SDKs: a VPC endpoint, an emulator. http:// is accepted for this machine only.";
    aws_endpoint_url = "AWS_ENDPOINT_URL", default "none",
        "The same, if AWS_ENDPOINT_URL_STS is not set, as for the SDKs.";
    aws_ignore_configured_endpoint_urls = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", default "false",
        "If true, neither of the two is read, as for the SDKs.";
    aws_use_fips_endpoint = "AWS_USE_FIPS_ENDPOINT", default "false",
        "If true, signed calls go to the FIPS endpoint of STS, as for the SDKs.";
    aws_use_dualstack_endpoint = "AWS_USE_DUALSTACK_ENDPOINT", default "false",
        "If true, signed calls go to the endpoint of STS with IPv6, as for the SDKs.";
    aws_sts_regional_endpoints = "AWS_STS_REGIONAL_ENDPOINTS", default "regional",
        "If legacy, signed calls go to the global endpoint of STS where the region is one of those that had it first, as for the SDKs.";
    aws_ca_bundle = "AWS_CA_BUNDLE", default "none",
        "File of certificates in PEM: authorities that signed calls accept beside the built-in ones (Mozilla's), for a proxy that inspects TLS. Read at the start.";
    ssl_cert_file = "SSL_CERT_FILE", default "none",
        "Likewise, as for OpenSSL and Go.";
    aws_metadata_service_timeout = "AWS_METADATA_SERVICE_TIMEOUT", default "1",
        "Timeout of a connection to IMDS and of each read in seconds, from 1 to 30, as for boto3.";
    aws_metadata_service_num_attempts = "AWS_METADATA_SERVICE_NUM_ATTEMPTS", default "1",
        "Attempts for each request to IMDS, from 1 to 20, as for boto3: without a pause between them, and never for a token request that gets no answer or a 403, 404 or 405.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_filled_from_its_variable() {
        assert_eq!(FIELDS.len(), VARIABLES.len());
        for (field, variable) in FIELDS.iter().zip(VARIABLES) {
            assert_eq!(variable.name.to_ascii_lowercase(), *field);
        }
    }
}
