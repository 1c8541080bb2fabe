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
    imds_exporter_listen_address = "IMDS_EXPORTER_LISTEN_ADDRESS", default "0.0.0.0:10169",
        "Address and port to serve on; port 0 takes a free one.";
    imds_exporter_probe_listen_address = "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", default "none",
        "Address and port that serve /-/healthy, /-/ready, /-/startup and /-/clients alone, without TLS or a password: for the kubelet's probes beside a web configuration.";
    imds_exporter_web_config_file = "IMDS_EXPORTER_WEB_CONFIG_FILE", default "none",
        "TLS and basic authentication: the web-config.yml that Prometheus exporters share; in builds with the feature web-config.";
    imds_exporter_poll_interval = "IMDS_EXPORTER_POLL_INTERVAL", default "15s",
        "Time between polls, from 1s to 1h; polls come every 5s while they fail.";
    imds_exporter_timeout = "IMDS_EXPORTER_TIMEOUT", default "1s",
        "Time for one request to IMDS; 1s is what the SDKs allow by default. Wins over AWS_METADATA_SERVICE_TIMEOUT.";
    imds_exporter_expected_role = "IMDS_EXPORTER_EXPECTED_ROLE", default "none",
        "Name of the role that is to be in force; switches imds_role_expected on.";
    imds_exporter_watch_processes = "IMDS_EXPORTER_WATCH_PROCESSES", default "none",
        "Regular expression on command lines: which processes to suspect when they started in an outage; needs a shared PID namespace.";
    imds_exporter_state_file = "IMDS_EXPORTER_STATE_FILE", default "none",
        "File in which the outages survive a restart of the exporter.";
    imds_exporter_log = "IMDS_EXPORTER_LOG", default "info",
        "What is logged: a level, or a filter such as imds_exporter=debug.";
    imds_exporter_log_format = "IMDS_EXPORTER_LOG_FORMAT", default "text",
        "text or json.";
    aws_ec2_metadata_service_endpoint = "AWS_EC2_METADATA_SERVICE_ENDPOINT", default "http://169.254.169.254",
        "Where IMDS is, as for the SDKs; wins over the endpoint mode.";
    aws_ec2_metadata_service_endpoint_mode = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", default "IPv4",
        "IPv4 or IPv6, as for the SDKs.";
    aws_ec2_metadata_disabled = "AWS_EC2_METADATA_DISABLED", default "false",
        "true: nothing is sent to IMDS, as for the SDKs.";
    aws_metadata_service_timeout = "AWS_METADATA_SERVICE_TIMEOUT", default "1",
        "Seconds for one request to IMDS, as for boto3.";
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
