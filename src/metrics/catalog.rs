//! Every metric: name, type, labels and HELP. Registration, the reference and the checks of rules and dashboards are
//! derived from it.

#![allow(clippy::doc_markdown, reason = "HELP texts are no Markdown")]

use strum::IntoStaticStr;

/// The metric types of the text format that are in use.
#[derive(Clone, Copy, Debug, Eq, IntoStaticStr, PartialEq)]
#[strum(serialize_all = "snake_case")]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
}

impl Type {
    /// The type as the text format names it.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The full name.
    pub name: &'static str,
    /// Its type.
    pub metric_type: Type,
    /// Its labels' names.
    pub labels: &'static [&'static str],
    /// HELP.
    pub help: &'static str,
}

/// Bounds of the histograms in seconds. One lies at 1 s, every SDK's default time-out.
pub const BUCKETS_SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0];

/// Suspect processes that get a series.
pub const SUSPECT_SERIES: usize = 16;

macro_rules! catalog {
    ($($id:ident = $name:literal, $type:ident, [$($label:literal),*], $help:literal;)+) => {
        $(#[doc = $help] pub const $id: Spec = Spec {
            name: $name, metric_type: Type::$type, labels: &[$($label),*], help: $help,
        };)+

        /// All of them, except the process collector's.
        pub const ALL: &[Spec] = &[$($id,)+];
    };
}

catalog! {
    UP = "imds_up", Gauge, [],
        "Whether the last finished poll returned credentials; absent before the first poll ends.";
    STATE = "imds_state", Gauge, ["state"],
        "1 for the current verdict, 0 for the others, in the order of precedence: starting, unused (boto3 finds credentials before it would ask IMDS, or IMDS is disabled), proxied, failing, expired, refused (by AWS), stuck (clients hold no credentials), fine.";
    EXPIRATION = "imds_credentials_expiration_timestamp_seconds", Gauge, [],
        "Expiration of the last credential document seen; kept while polls fail, absent once IMDS reports that there is no role.";
    REMAINING = "imds_credentials_remaining_seconds", Gauge, [],
        "Time until the credentials expire, computed at scrape time; negative after that.";
    LAST_UPDATED = "imds_credentials_last_updated_timestamp_seconds", Gauge, [],
        "LastUpdated of the last credential document seen.";
    ROTATIONS = "imds_credentials_rotations_total", Counter, [],
        "Number of times that a newer credential document was seen.";
    ROLE_INFO = "imds_role_info", Gauge, ["role"],
        "The current role; absent if no role is attached.";
    ROLE_CHANGES = "imds_role_changes_total", Counter, [],
        "Number of times that the role name changed.";
    ROLE_EXPECTED = "imds_role_expected", Gauge, [],
        "Whether the current role is the configured one; absent if none is configured.";
    FETCHES = "imds_fetches_total", Counter, [],
        "Number of finished polls.";
    FETCH_FAILURES = "imds_fetch_failures_total", Counter, ["kind"],
        "Number of failed polls, by kind.";
    FAILURE_ACTIVE = "imds_failure_active", Gauge, ["kind", "step"],
        "The failure of the last poll; absent if the last poll succeeded.";
    FETCH_DURATION = "imds_fetch_duration_seconds", Histogram, ["outcome"],
        "Duration of polls.";
    REQUEST_DURATION = "imds_request_duration_seconds", Histogram, ["step"],
        "Duration of individual requests to IMDS; requests that only diagnose a failure are not counted.";
    LAST_ATTEMPT = "imds_fetch_last_attempt_timestamp_seconds", Gauge, [],
        "Time at which the last poll ended.";
    LAST_SUCCESS = "imds_fetch_last_success_timestamp_seconds", Gauge, [],
        "Time at which the last successful poll ended.";
    CONSECUTIVE_FAILURES = "imds_fetch_consecutive_failures", Gauge, [],
        "Number of polls that have failed in a row.";
    POLL_INTERVAL = "imds_poll_interval_seconds", Gauge, [],
        "Configured time between polls; polls run in the background, never during a scrape.";
    OUTAGES = "imds_outages_total", Counter, [],
        "Number of outages that began; an outage is one or more failed polls in a row.";
    OUTAGE_LAST_START = "imds_outage_last_start_timestamp_seconds", Gauge, [],
        "Start of the last outage that is over: the last successful poll before it, or the start of the exporter.";
    OUTAGE_LAST_END = "imds_outage_last_end_timestamp_seconds", Gauge, [],
        "End of the last outage that is over: the first successful poll after it, or the end of the boot.";
    CLIENT_USABLE = "imds_client_usable", Gauge, ["sdk", "created"],
        "Whether a boto3 client that was created at that time would have credentials to sign with; derived from the history of polls, for every version of boto3 from 1.18. Absent where this is unknown, where no workload is declared (at_start), and where a poll does not stand for boto3 (imds_chain_shadowed, imds_requests_proxied).";
    WATCHED_PROCESSES = "imds_watched_processes", Gauge, [],
        "Number of processes that match IMDS_EXPORTER_WATCH_PROCESSES and can be seen; 0 for long means that the pattern or the PID namespace is wrong; absent if watching is disabled.";
    UNREAD_PROCESSES = "imds_unread_processes", Gauge, [],
        "Number of processes that the last scan could not read, because the exporter lacked file descriptors or memory: suspects may be missing; absent if watching is disabled.";
    SUSPECT_PROCESSES = "imds_suspect_processes", Gauge, [],
        "Number of watched processes that started during an outage that is over: a suspicion, never a proof; absent if watching is disabled.";
    SUSPECT_START_TIME = "imds_suspect_process_start_time_seconds", Gauge, ["pid", "command", "unit", "container_id", "pod_uid"],
        "Start time of the suspect processes; at most 16, the longest-running first. unit, container_id and pod_uid are empty where they do not apply.";
    SIGNED_CALL_UP = "imds_signed_call_up", Gauge, [],
        "Whether AWS accepted the last call that was signed with the fetched credentials; absent before the first one ends, and where IMDS_EXPORTER_SIGNED_CALL_INTERVAL is not set.";
    SIGNED_CALLS = "imds_signed_calls_total", Counter, [],
        "Number of finished signed calls; absent where none are made.";
    SIGNED_CALL_FAILURES = "imds_signed_call_failures_total", Counter, ["reason"],
        "Number of failed signed calls, by reason; absent where none are made.";
    SIGNED_CALL_FAILURE_ACTIVE = "imds_signed_call_failure_active", Gauge, ["reason"],
        "The reason of the last signed call if it failed; absent if it succeeded, and where none are made.";
    SIGNED_CALL_DURATION = "imds_signed_call_duration_seconds", Histogram, [],
        "Duration of signed calls; absent where none are made.";
    SIGNED_CALL_LAST_ATTEMPT = "imds_signed_call_last_attempt_timestamp_seconds", Gauge, [],
        "Time at which the last signed call ended; absent where none are made.";
    SIGNED_CALL_LAST_SUCCESS = "imds_signed_call_last_success_timestamp_seconds", Gauge, [],
        "Time at which the last signed call that AWS accepted ended; absent where none are made.";
    CLOCK_SKEW = "imds_clock_skew_seconds", Gauge, [],
        "Date header of IMDS minus the local clock; the header has whole seconds; absent without the header.";
    CHAIN_SHADOWED = "imds_chain_shadowed", Gauge, ["by"],
        "1 if the default chain of the SDKs finds credentials in the environment of the exporter, or in the shared files that it can read, before it would ask IMDS: then client metrics are not exported; absent otherwise.";
    REQUESTS_PROXIED = "imds_requests_proxied", Gauge, [],
        "1 if the proxy variables in the environment of the exporter would send the requests of boto3 to IMDS through a proxy, which the exporter does not use: then client metrics are not exported; absent otherwise.";
    V1_FALLBACK_ACTIVE = "imds_v1_fallback_active", Gauge, ["kind"],
        "1 while credentials resolve only because IMDSv1 answers; kind is why the token request fails; absent otherwise.";
    BUILD_INFO = "imds_exporter_build_info", Gauge, ["version", "revision", "rustversion"],
        "Version, revision and Rust version of this build.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels that a scrape adds, which no metric may have.
    const TARGET_LABELS: [&str; 12] = [
        "instance",
        "job",
        "namespace",
        "pod",
        "container",
        "cluster",
        "region",
        "zone",
        "env",
        "service",
        "type",
        "le",
    ];

    #[test]
    fn names_labels_and_help_follow_the_conventions() {
        for spec in ALL {
            assert!(spec.name.starts_with("imds_"), "{}", spec.name);
            assert_eq!(spec.name.ends_with("_total"), spec.metric_type == Type::Counter, "{}", spec.name);
            assert!(spec.labels.iter().all(|label| !TARGET_LABELS.contains(label)), "{}", spec.name);
            assert!(spec.help.ends_with('.'), "{}", spec.name);
        }
        let mut names: Vec<_> = ALL.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn one_bucket_bound_is_the_timeout_of_the_sdks() {
        assert!(BUCKETS_SECONDS.contains(&1.0));
        assert!(BUCKETS_SECONDS.is_sorted());
    }
}
