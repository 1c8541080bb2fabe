//! The table of variables: from it come what the configuration reads, `--help` and the README.

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

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable that is read.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    variable("IMDS_EXPORTER_LISTEN_ADDRESS", ":10169",
        "Address and port to listen on, or several separated by commas; without an address, all addresses, IPv6 and IPv4. Port 0 selects a free port."),
    variable("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "none",
        "Address and port, or several separated by commas, that serve only /-/healthy, /-/ready, /-/startup and /-/clients, without TLS or a password: for the kubelet's probes when a web configuration is in use."),
    variable("IMDS_EXPORTER_WEB_CONFIG_FILE", "none",
        "File that configures TLS and basic authentication: the web-config.yml format of Prometheus exporters."),
    variable("IMDS_EXPORTER_POLL_INTERVAL", "15s",
        "Time between polls, from 1s to 1h; the exporter polls every 5s while polls fail."),
    variable("IMDS_EXPORTER_TIMEOUT", "1s",
        "Timeout of a connection to IMDS and of each read; boto3's default is 1s. Takes precedence over AWS_METADATA_SERVICE_TIMEOUT."),
    variable("IMDS_EXPORTER_EXPECTED_ROLE", "none",
        "Name of the expected role; enables imds_role_expected."),
    variable("IMDS_EXPORTER_WATCH_PROCESSES", "none",
        "Regular expression for the command lines of the processes to watch: they are suspects if they started during an outage; needs a shared PID namespace."),
    variable("IMDS_EXPORTER_WORKLOAD", "independent",
        "Which workload starts with the exporter: independent (none: hosts, DaemonSets), starts-with-exporter (a sidecar that holds nothing back) or starts-when-ready (a sidecar whose /-/startup or wait holds the workload back). The last two need IMDS_EXPORTER_STATE_FILE."),
    variable("IMDS_EXPORTER_STATE_FILE", "none",
        "File that keeps the outages across restarts of the exporter, and within one boot of the machine also the expiration and the role of the last document and the clients of the declared workload. It contains no secret."),
    variable("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "none",
        "Time between signed calls, from 1m to 24h; enables imds_signed_call_up. A signed call is an sts:GetCallerIdentity with the fetched credentials, after a successful poll: it needs no permission and tells whether AWS accepts them. It goes through the proxy in HTTPS_PROXY, unless NO_PROXY exempts the host."),
    variable("IMDS_EXPORTER_LOG", "info",
        "Log level, or a filter such as imds_exporter=debug."),
    variable("IMDS_EXPORTER_LOG_FORMAT", "text",
        "Log format: text or json."),
    variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254",
        "URL of IMDS, as for the SDKs; takes precedence over the endpoint mode."),
    variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv4",
        "Address family of IMDS: IPv4 or IPv6, as for the SDKs."),
    variable("AWS_EC2_METADATA_DISABLED", "false",
        "If true, no requests are sent to IMDS, as for the SDKs."),
    variable("AWS_EC2_METADATA_V1_DISABLED", "false",
        "If true, no requests are sent without a session token, as for the SDKs. Set it for the workload and the exporter alike, or for neither: where the token request fails, boto3 then raises an error instead of creating a client without credentials."),
    variable("AWS_ACCESS_KEY_ID", "none",
        "If set, the SDKs do not ask IMDS: see imds_chain_shadowed. Its value is not kept."),
    variable("AWS_WEB_IDENTITY_TOKEN_FILE", "none",
        "If set (IRSA), the SDKs do not ask IMDS: see imds_chain_shadowed."),
    variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "none",
        "If set (ECS task roles), the SDKs do not ask IMDS: see imds_chain_shadowed."),
    variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", "none",
        "If set (EKS Pod Identity), the SDKs do not ask IMDS: see imds_chain_shadowed."),
    variable("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials",
        "If this file has credentials for the profile, the SDKs do not ask IMDS: see imds_chain_shadowed. Read at the start; no value in it is kept."),
    variable("AWS_CONFIG_FILE", "~/.aws/config",
        "Likewise."),
    variable("AWS_PROFILE", "default",
        "The profile in these files, as for the SDKs."),
    variable("AWS_DEFAULT_PROFILE", "none",
        "The same; takes precedence over AWS_PROFILE, as for boto3."),
    variable("AWS_REGION", "the region that IMDS names",
        "Region of the STS that signed calls go to, as for the SDKs."),
    variable("AWS_DEFAULT_REGION", "none",
        "The same, if AWS_REGION is not set, as for boto3."),
    variable("AWS_ENDPOINT_URL_STS", "the region's STS",
        "URL of STS, as for the SDKs: a VPC endpoint, an emulator. http:// is accepted for this machine only."),
    variable("AWS_ENDPOINT_URL", "none",
        "The same, if AWS_ENDPOINT_URL_STS is not set, as for the SDKs."),
    variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false",
        "If true, neither of the two is read, as for the SDKs."),
    variable("AWS_USE_FIPS_ENDPOINT", "false",
        "If true, signed calls go to the FIPS endpoint of STS, as for the SDKs."),
    variable("AWS_USE_DUALSTACK_ENDPOINT", "false",
        "If true, signed calls go to the endpoint of STS with IPv6, as for the SDKs."),
    variable("AWS_STS_REGIONAL_ENDPOINTS", "regional",
        "If legacy, signed calls go to the global endpoint of STS where the region is one of those that had it first, as for the SDKs."),
    variable("AWS_CA_BUNDLE", "none",
        "File of certificates in PEM: authorities that signed calls accept beside the built-in ones (Mozilla's), for a proxy that inspects TLS. Read at the start."),
    variable("SSL_CERT_FILE", "none",
        "Likewise, as for OpenSSL and Go."),
    variable("AWS_METADATA_SERVICE_TIMEOUT", "1",
        "Timeout of a connection to IMDS and of each read in seconds, from 1 to 30, as for boto3."),
    variable("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1",
        "Attempts for each request to IMDS, from 1 to 20, as for boto3: without a pause between them, and never for a token request that gets no answer or a 403, 404 or 405."),
];
