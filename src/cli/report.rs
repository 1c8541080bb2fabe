//! The report of `check`, for a person at 3 a.m. and as JSON.
//!
//! Owns the verdict and its words. Pure.

use std::fmt::Write;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use strum::EnumMessage;

use crate::domain::outage::Outage;
use crate::domain::signed_call::Obstacle;
use crate::domain::{HumanDuration, ImdsState, Request, RequestRecord, Resolution, RoleName};
use crate::http::status::{Advice, CallFailureStatus, FailureStatus, SignedCallStatus, Status, to_json};

/// `LastUpdated` older than this is a late rotation: IMDS rotates about hourly. Source: boto/botocore#2670.
const ROTATION_LATE: SignedDuration = SignedDuration::from_mins(90);

/// Clock skew that deserves a warning: AWS rejects signatures from 5 minutes on.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Requests that take longer are slow: the default time-out of every SDK.
const SLOW: Duration = Duration::from_secs(1);

/// The verdict, and its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Usable = 0,
    /// Credentials do not resolve, or AWS refuses them.
    Failing = 1,
    /// Credentials resolve, but something is wrong.
    Warning = 2,
}

/// What is wrong although credentials resolve. The doc comment of each is its text for people.
#[allow(clippy::doc_markdown, reason = "the texts are no Markdown")]
#[derive(Clone, Copy, Debug, EnumMessage, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Warning {
    /// The credentials have expired. AWS may still accept them for a while, but IMDS has no newer ones: open a case with AWS.
    Expired,
    /// The credentials have not been rotated for over 90 minutes; IMDS usually rotates them every hour. Watch the expiration.
    RotationLate,
    /// The local clock and IMDS's differ by more than a minute: signatures fail from 5 minutes on. Fix NTP (chronyc tracking).
    ClockSkew,
    /// A request took longer than the 1 s that SDKs wait by default: their clients fail where this check did not.
    Slow,
    /// The role is not the expected one: check the instance profile.
    UnexpectedRole,
    /// It works by IMDSv1 only: boto3 needs up to a second more for each new client, SDKs that know IMDSv2 only fail, and AWS_EC2_METADATA_V1_DISABLED=true would break the workload.
    V1Fallback,
    /// SDKs with this environment send their requests to IMDS through a proxy, which this check does not: add the address of IMDS to NO_PROXY.
    ImdsThroughProxy,
    /// Clients that were created when the workload started hold no credentials, permanently: restart the workload, then the exporter.
    ClientsStuck,
    /// STS cannot be asked: whether AWS accepts the credentials is unknown.
    SignedCallFailed,
}

impl Warning {
    fn text(self) -> &'static str {
        self.get_documentation().expect("every warning has a doc comment")
    }
}

/// What `check` alone tells of a signed call.
#[derive(Serialize)]
pub(super) struct SignedCheck {
    /// The address of STS; `None` if the region is unknown, so that nothing was sent.
    pub(super) endpoint: Option<String>,
    /// Whose credentials they are.
    pub(super) user_id: Option<String>,
    /// Likewise.
    pub(super) arn: Option<String>,
}

pub(super) struct Report<'a> {
    /// What `/api/v1/status` would say.
    pub(super) status: Status,
    pub(super) resolution: &'a Resolution,
    pub(super) expected_role: Option<&'a RoleName>,
    /// The signed call, if one was asked for and there were credentials to sign it with.
    pub(super) signed: Option<SignedCheck>,
}

impl Report<'_> {
    fn warnings(&self) -> Vec<Warning> {
        let Ok(credential) = &self.resolution.outcome else { return Vec::new() };
        let status = &self.status;
        let late = credential.last_updated.is_some_and(|updated| updated.duration_until(status.now) > ROTATION_LATE);
        let skewed = self.resolution.clock_skew.is_some_and(|skew| skew.unsigned_abs() > CLOCK_SKEW);
        // A token request that is lost takes as long as an SDK waits for it too.
        let counts = |record: &&RequestRecord| status.v1_fallback.is_none() || record.request != Request::Token;
        let slow = self.resolution.requests.iter().filter(counts).any(|record| record.duration >= SLOW);
        let unexpected = self.expected_role.is_some_and(|expected| *expected != credential.role);
        let found = [
            (credential.expiration <= status.now, Warning::Expired),
            (late, Warning::RotationLate),
            (skewed, Warning::ClockSkew),
            (slow, Warning::Slow),
            (unexpected, Warning::UnexpectedRole),
            (status.v1_fallback.is_some(), Warning::V1Fallback),
            (status.imds_through_proxy.is_some(), Warning::ImdsThroughProxy),
            (status.clients_stuck, Warning::ClientsStuck),
            (self.call_failure().is_some_and(|failure| !failure.refused), Warning::SignedCallFailed),
        ];
        found.into_iter().filter_map(|(is, warning)| is.then_some(warning)).collect()
    }

    fn call_failure(&self) -> Option<&CallFailureStatus> {
        self.status.signed_call.as_ref()?.failure.as_ref()
    }

    pub(super) fn verdict(&self) -> Verdict {
        let refused = self.call_failure().is_some_and(|failure| failure.refused);
        match &self.resolution.outcome {
            Err(_) => Verdict::Failing,
            Ok(_) if refused => Verdict::Failing,
            Ok(_) if self.warnings().is_empty() => Verdict::Usable,
            Ok(_) => Verdict::Warning,
        }
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let status = &self.status;
        let mut text = self.lead();
        let _infallible =
            writeln!(text, "Requesting the role's credentials from {}, as an SDK does.\n", status.endpoint);
        for request in &self.resolution.requests {
            let _infallible = writeln!(text, "  {}", step_line(request));
        }
        if !self.resolution.requests.is_empty() {
            text.push('\n');
        }
        match &status.failure {
            None => text.push_str(&self.usable()),
            Some(FailureStatus { kind, step, advice, .. }) => {
                let detail = self.resolution.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
                let _infallible = write!(text, "FAILING: {kind}, in the {step} step{detail}\n\n{}", block(advice));
            }
        }
        if let (Some(signed), Some(call)) = (&self.signed, &status.signed_call) {
            text.push_str(&signed_text(signed, call));
        }
        if status.chain_shadowed.is_none() && status.imds_through_proxy.is_none() {
            text.push_str(&self.clients());
        }
        text
    }

    /// What comes before everything else, as on the status page.
    fn lead(&self) -> String {
        match (self.status.state, self.status.chain_shadowed, self.status.imds_through_proxy) {
            (ImdsState::Unused, Some(shadow), _) => format!(
                "NOTE: SDKs with this environment do not ask IMDS. Their default chain finds credentials before:\n      {}\n\n",
                shadow.meaning()
            ),
            (ImdsState::Proxied, _, Some(variable)) => format!(
                "PROXIED: {variable} makes SDKs send their requests to IMDS through a proxy. What follows is about IMDS alone.\n         Add the address of IMDS to NO_PROXY, for the workload and the exporter.\n\n"
            ),
            _ => String::new(),
        }
    }

    fn usable(&self) -> String {
        let Status { role, expiration, remaining_seconds, v1_fallback, v1_fallback_advice, .. } = &self.status;
        let role = role.as_deref().unwrap_or_default();
        let expiration = expiration.map(|at| at.to_string()).unwrap_or_default();
        let left = SignedDuration::from_secs(remaining_seconds.unwrap_or_default());
        let mut text = if left.is_positive() {
            format!("USABLE: role {role}, credentials until {expiration} ({} left).\n", HumanDuration(left))
        } else {
            format!("EXPIRED: role {role}, credentials expired at {expiration} ({} ago).\n", HumanDuration(-left))
        };
        for warning in self.warnings() {
            let _infallible = writeln!(text, "WARNING: {}", warning.text());
        }
        if let (Some(kind), Some(advice)) = (v1_fallback, v1_fallback_advice) {
            let _infallible = write!(text, "\nWhy IMDSv2 does not work: {kind}\n\n{}", block(advice));
        }
        text
    }

    /// What the state means for boto3 clients.
    fn clients(&self) -> String {
        let mut text = "\nWhat this means for boto3 clients:\n".to_owned();
        for client in &self.status.clients {
            let _infallible = writeln!(text, "  A client {}: {}", client.meaning, client.text);
        }
        match (self.status.state, self.status.outages.last()) {
            (ImdsState::Fine | ImdsState::Stuck, Some(Outage { start, end })) => {
                let _infallible = writeln!(
                    text,
                    "  A client that was created between {} and {}: it may have no credentials until it is created again.",
                    start.strftime("%H:%M:%S"),
                    end.strftime("%H:%M:%S UTC on %Y-%m-%d"),
                );
            }
            (ImdsState::Fine, None) => text.push_str(
                "If a program still raises NoCredentialsError, its client was created in an earlier outage: re-create the client\n\
                 (restart the program); retrying the call never helps.\n",
            ),
            _ => {}
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Step {
            request: Request,
            duration_seconds: f64,
            status: Option<u16>,
        }

        #[derive(Serialize)]
        struct Json<'a> {
            verdict: Verdict,
            warnings: Vec<Warning>,
            steps: Vec<Step>,
            sts: Option<&'a SignedCheck>,
            #[serde(flatten)]
            status: &'a Status,
        }
        let steps = self.resolution.requests.iter().map(|request| Step {
            request: request.request,
            duration_seconds: request.duration.as_secs_f64(),
            status: request.status,
        });
        to_json(&Json {
            verdict: self.verdict(),
            warnings: self.warnings(),
            steps: steps.collect(),
            sts: self.signed.as_ref(),
            status: &self.status,
        })
    }
}

fn signed_text(SignedCheck { endpoint, user_id, arn }: &SignedCheck, call: &SignedCallStatus) -> String {
    let endpoint = endpoint.as_deref().unwrap_or("none: the region is unknown");
    let status = call.failure.as_ref().map_or(Some(200), |failure| failure.status);
    let step = line("sts:GetCallerIdentity", status, Duration::from_secs_f64(call.duration_seconds));
    let mut text = format!("\nSigning a call to STS with these credentials ({endpoint}).\n\n  {step}\n\n");
    if let Some(CallFailureStatus { reason, refused, code, obstacle, advice, .. }) = &call.failure {
        let verdict = if *refused { "REFUSED: AWS refuses the credentials" } else { "UNKNOWN: STS cannot be asked" };
        let code = code.or(obstacle.map(Obstacle::label)).map(|code| format!(" ({code})")).unwrap_or_default();
        let _infallible = write!(text, "{verdict}: {reason}{code}\n\n{}", block(advice));
        return text;
    }
    text.push_str("ACCEPTED: AWS accepts the credentials.\n\n");
    for (name, value) in [
        ("Account", call.account.as_deref()),
        ("Role", call.role.as_deref().or(Some("none"))),
        ("User id", user_id.as_deref()),
        ("ARN", arn.as_deref()),
    ] {
        let _infallible = writeln!(text, "  {name:<15} {}", value.unwrap_or_default());
    }
    text
}

fn block(Advice { observed, cause, confirm, action }: &Advice) -> String {
    format!(
        "  What it means   {observed}\n  Likely cause    {cause}\n  To confirm      {confirm}\n  What to do      {}\n",
        action.replace('`', ""),
    )
}

fn step_line(request: &RequestRecord) -> String {
    let what = match request.request {
        Request::Token => "session token (PUT)",
        Request::Role => "role list",
        Request::ProfileInfo => "instance profile",
        Request::Credentials => "credential document",
        Request::RoleWithoutToken => "role list, no token",
        Request::Probe => "probe (GET)",
    };
    line(what, request.status, request.duration)
}

fn line(what: &str, status: Option<u16>, duration: Duration) -> String {
    let answer = status.map_or("no answer".to_owned(), |status| format!("HTTP {status}"));
    format!("{what:<22} {answer:<10} {:>9.1} ms", duration.as_secs_f64() * 1e3)
}
