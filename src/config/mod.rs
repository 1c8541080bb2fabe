//! The configuration: environment variables become validated options.
//!
//! All errors are collected, each with the full name of its variable; a value that could contain a secret is not
//! repeated.

mod proxy;
mod reader;
mod shared_files;
mod signed_call;
mod unknown;
mod variables;

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use regex_lite::Regex;
use strum::VariantArray;

pub use reader::ConfigErrors;
pub use variables::{VARIABLES, Variable};

use crate::domain::place::{Place, Platform};
use crate::domain::schedule::SHORTEST_INTERVAL;
use crate::domain::signed_call as call;
use crate::domain::state::WorkloadEnvironment;
use crate::domain::workload::Workload;
use crate::domain::{Region, RoleName, Shadow};
use crate::imds::{self, DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, Endpoint, IPV4_ENDPOINT, IPV6_ENDPOINT};
use crate::platform::listener::ListenAddress;
use crate::platform::logging;
use crate::sts;
use proxy::ProxyVariables;
use reader::{Reader, is_true};
use shared_files::{Profile, profile_in_use};
use variables::Raw;

/// The default port, outside the range that Prometheus allocates to exporters, which is full.
pub const DEFAULT_PORT: u16 = 10_169;

/// The longest interval: an outage must be noticed within an hour.
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);

/// The longest time between signed calls.
const LONGEST_CALL_INTERVAL: Duration = Duration::from_hours(24);

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

const MOST_ATTEMPTS: u32 = 20;

/// Variables that make the SDKs' default chain find credentials before it would ask IMDS.
const SHADOWING: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];

/// Likewise.
const CONTAINER: &[&str] = &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve.
    pub listen: Vec<ListenAddress>,
    /// Where to serve the probes alone.
    pub probe_listen: Vec<ListenAddress>,
    /// TLS and basic authentication.
    pub web_config_file: Option<PathBuf>,
    /// Time between polls.
    pub poll_interval: Duration,
    /// How to reach IMDS.
    pub imds: imds::ImdsOptions,
    /// The role that is expected.
    pub expected_role: Option<RoleName>,
    /// What the workload is declared to be, and what its environment says.
    pub environment: WorkloadEnvironment,
    /// Which processes to watch.
    pub watch: Option<Regex>,
    /// Time between signed calls; `None`: none are made.
    pub signed_call_interval: Option<Duration>,
    /// How to reach STS, or what is wrong with that, which does not matter where no signed call is made.
    pub sts: Result<sts::StsOptions, ConfigErrors>,
    /// The file in which outages survive a restart.
    pub state_file: Option<PathBuf>,
    /// What is logged.
    pub log: logging::LogOptions,
}

/// The environment of this process as it is, non-UTF-8 variables included, with the user's home folder.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let home = std::env::home_dir().map(|folder| ("HOME".into(), folder.into()));
    std::env::vars_os().chain(home)
}

impl Config {
    /// Where the probes are answered; they need neither TLS nor a password there.
    pub(crate) fn probe_addresses(&self) -> &[ListenAddress] {
        if self.probe_listen.is_empty() { &self.listen } else { &self.probe_listen }
    }

    /// Reads the configuration from an environment. An empty variable counts as unset.
    ///
    /// # Errors
    /// All errors.
    pub fn from_environment(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut known = Vec::new();
        let mut proxies = ProxyVariables::default();
        let mut platform = Platform::Host;
        let mut home = None;
        for (name, value) in environment {
            let Some(name) = name.to_str() else { continue };
            proxies.take(name, &value);
            match name {
                "HOME" => home = Some(PathBuf::from(&value)),
                // Set by the platform in what it runs.
                "KUBERNETES_SERVICE_HOST" => platform = Platform::Kubernetes,
                "ECS_CONTAINER_METADATA_URI_V4" => platform = Platform::Ecs,
                _ => {}
            }
            if VARIABLES.iter().all(|variable| variable.name != name) {
                errors.extend(unknown::error(name));
                continue;
            }
            match value.into_string() {
                // boto3 raises an error where these are set to nothing.
                Ok(value) if value.trim().is_empty() && !CONTAINER.contains(&name) => {}
                // Only whether these are set counts: no value of theirs is kept.
                Ok(_) if SHADOWING.contains(&name) || CONTAINER.contains(&name) => {
                    known.push((name.to_owned(), "set".to_owned()));
                }
                Ok(value) => known.push((name.to_owned(), value.trim().to_owned())),
                Err(_) => errors.push(format!("{name}: is not UTF-8")),
            }
        }
        match envy::from_iter::<_, Raw>(known) {
            Ok(raw) => Self::from_raw(raw, &proxies, platform, home.as_deref(), errors),
            Err(error) => {
                errors.push(error.to_string());
                Err(ConfigErrors(errors))
            }
        }
    }

    fn from_raw(
        raw: Raw,
        proxies: &ProxyVariables,
        platform: Platform,
        home: Option<&Path>,
        errors: Vec<String>,
    ) -> Result<Self, ConfigErrors> {
        let sts = signed_call::options(&raw, proxies);
        let profile = profile_in_use(&raw, home);
        let earlier_in_chain = earlier_in_chain(&raw, profile);
        let mut read = Reader { errors };
        let poll_interval = read
            .parse_optional("IMDS_EXPORTER_POLL_INTERVAL", raw.imds_exporter_poll_interval, duration)
            .unwrap_or(Duration::from_secs(15));
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&poll_interval) {
            read.error("IMDS_EXPORTER_POLL_INTERVAL", "must be between 1s and 1h");
        }
        let timeout = timeout(&mut read, raw.imds_exporter_timeout, raw.aws_metadata_service_timeout);
        let attempts = read
            .parse_optional("AWS_METADATA_SERVICE_NUM_ATTEMPTS", raw.aws_metadata_service_num_attempts, attempts)
            .unwrap_or(DEFAULT_ATTEMPTS);
        let endpoint = read.parse_optional(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            raw.aws_ec2_metadata_service_endpoint,
            Endpoint::parse,
        );
        let mode_endpoint = read.parse_optional(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
            raw.aws_ec2_metadata_service_endpoint_mode,
            endpoint_of_mode,
        );
        let listen =
            read.parse_optional("IMDS_EXPORTER_LISTEN_ADDRESS", raw.imds_exporter_listen_address, listen_addresses);
        let probe_listen = read.parse_optional(
            "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS",
            raw.imds_exporter_probe_listen_address,
            listen_addresses,
        );
        let role = |text: &str| RoleName::try_from(text.to_owned());
        let expected_role = read.parse_optional("IMDS_EXPORTER_EXPECTED_ROLE", raw.imds_exporter_expected_role, role);
        let watch = read.parse_optional("IMDS_EXPORTER_WATCH_PROCESSES", raw.imds_exporter_watch_processes, |text| {
            Regex::new(text).map_err(|error| format!("is not a regular expression: {error}"))
        });
        let filter = read.parse_optional("IMDS_EXPORTER_LOG", raw.imds_exporter_log, |text| {
            logging::filter(text).ok_or("is not a log filter such as info or imds_exporter=debug")
        });
        let format = read.parse_optional("IMDS_EXPORTER_LOG_FORMAT", raw.imds_exporter_log_format, |text| {
            text.parse::<logging::Format>().map_err(|_| "must be text or json")
        });
        let disabled = is_true(raw.aws_ec2_metadata_disabled.as_deref());
        let v1_disabled = is_true(raw.aws_ec2_metadata_v1_disabled.as_deref());
        let name = "IMDS_EXPORTER_SIGNED_CALL_INTERVAL";
        let signed_call_interval = read.parse_optional(name, raw.imds_exporter_signed_call_interval.clone(), duration);
        if signed_call_interval.is_some_and(|time| !(call::SHORTEST_INTERVAL..=LONGEST_CALL_INTERVAL).contains(&time)) {
            read.error(name, "must be between 1m and 24h");
        }
        if let (Some(_), Err(ConfigErrors(errors))) = (&raw.imds_exporter_signed_call_interval, &sts) {
            read.errors.extend_from_slice(errors);
        }
        let workload = read.parse_optional("IMDS_EXPORTER_WORKLOAD", raw.imds_exporter_workload, |text| {
            let names = Workload::VARIANTS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            text.parse::<Workload>().map_err(|_| format!("must be one of {names}"))
        });
        let workload = workload.unwrap_or_default();
        if workload != Workload::Independent && raw.imds_exporter_state_file.is_none() {
            // Without it, a restart of the exporter alone would look like a start of both.
            read.error("IMDS_EXPORTER_WORKLOAD", format_args!("{workload} needs IMDS_EXPORTER_STATE_FILE"));
        }
        let ipv4 = || Endpoint::parse(IPV4_ENDPOINT).expect("a literal that tests parse");

        let endpoint = endpoint.or(mode_endpoint).unwrap_or_else(ipv4);
        let region = sts.as_ref().ok().and_then(|sts| sts.region.clone());
        let in_china = region.as_ref().map(Region::is_in_china);
        let place = Place { platform, ipv6: endpoint.authority().starts_with('['), in_china };

        if !read.errors.is_empty() {
            return Err(ConfigErrors(read.errors));
        }
        Ok(Self {
            listen: listen.unwrap_or_else(|| vec![ListenAddress::AllInterfaces(DEFAULT_PORT)]),
            probe_listen: probe_listen.unwrap_or_default(),
            web_config_file: raw.imds_exporter_web_config_file.map(PathBuf::from),
            poll_interval,
            environment: WorkloadEnvironment {
                workload,
                earlier_in_chain,
                assumes_role: profile == Profile::AssumesRoleFromImds,
                proxied_by: proxies.proxy_of(&endpoint.authority()),
                place,
            },
            imds: imds::ImdsOptions { endpoint, timeout, attempts, disabled, v1_disabled, region },
            expected_role,
            watch,
            signed_call_interval,
            sts,
            state_file: raw.imds_exporter_state_file.map(PathBuf::from),
            log: logging::LogOptions {
                filter: filter.unwrap_or_else(logging::default_filter),
                format: format.unwrap_or_default(),
            },
        })
    }
}

/// What boto3 finds before it would ask IMDS, in its order.
fn earlier_in_chain(raw: &Raw, profile: Profile) -> Option<Shadow> {
    let set = |value: &Option<String>, shadow| value.is_some().then_some(shadow);
    let environment = set(&raw.aws_access_key_id, Shadow::Environment);
    let web_identity = set(&raw.aws_web_identity_token_file, Shadow::WebIdentity);
    let relative = set(&raw.aws_container_credentials_relative_uri, Shadow::Container);
    let container = relative.or(set(&raw.aws_container_credentials_full_uri, Shadow::Container));
    let shared_files = Some(Shadow::SharedCredentialsFile);
    environment.or(match profile {
        Profile::AssumesRole => shared_files,
        Profile::AssumesRoleFromImds => None,
        Profile::Provides => web_identity.or(shared_files),
        Profile::Nothing => web_identity.or(container),
    })
}

/// Parses a duration as people write it.
///
/// # Errors
/// With examples of what is accepted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SpanParser::new().parse_unsigned_duration(text);
    parsed.map_err(|_| "is not a duration such as 15s, 500ms or 1m".to_owned())
}

/// The exporter's own variable, else that of the SDKs.
fn timeout(read: &mut Reader, own: Option<String>, of_sdks: Option<String>) -> Duration {
    let in_range = |timeout: Duration, what: &str| {
        (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout).then_some(timeout).ok_or_else(|| what.to_owned())
    };
    let of_sdks = read.parse_optional("AWS_METADATA_SERVICE_TIMEOUT", of_sdks, |text| {
        in_range(whole_seconds(text)?, "must be between 1 and 30")
    });
    let own = read
        .parse_optional("IMDS_EXPORTER_TIMEOUT", own, |text| in_range(duration(text)?, "must be between 10ms and 30s"));
    own.or(of_sdks).unwrap_or(DEFAULT_TIMEOUT)
}

fn attempts(text: &str) -> Result<NonZeroU32, String> {
    let attempts = text.parse().ok().filter(|attempts: &NonZeroU32| attempts.get() <= MOST_ATTEMPTS);
    attempts.ok_or_else(|| format!("must be a whole number between 1 and {MOST_ATTEMPTS}"))
}

fn whole_seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "is not a whole number of seconds".to_owned())
}

fn endpoint_of_mode(text: &str) -> Result<Endpoint, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "ipv4" => Endpoint::parse(IPV4_ENDPOINT),
        "ipv6" => Endpoint::parse(IPV6_ENDPOINT),
        _ => Err("must be IPv4 or IPv6"),
    }
}

fn listen_addresses(text: &str) -> Result<Vec<ListenAddress>, &'static str> {
    let addresses: Result<_, _> = text.split(',').map(|address| address.trim().parse()).collect();
    addresses.map_err(|()| {
        "is not an address and port such as :10169, localhost:10169, 127.0.0.1:10169 or [::1]:10169, or several separated by \
         commas"
    })
}

#[cfg(test)]
mod tests;
