//! The report of `check`, for a person at 3 a.m. and as JSON.
//!
//! Owns the verdict and its words. Pure.

use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::domain::boto3::{Created, Prognosis};
use crate::domain::outage::Window;
use crate::domain::place::{Circumstances, Place};
use crate::domain::signed_call::{CallFailure, Caller, Reason};
use crate::domain::{
    Creation, Credential, Failure, Kind, Request, RequestRecord, Resolution, RoleName, Shadow, Span, Step,
};
use crate::runbook::{Explanation, explanation, reason_explanation, sentence};
use crate::sts::CallerIdentity;

/// `LastUpdated` older than this is a late rotation: IMDS rotates about hourly. Source: boto/botocore#2670.
pub const ROTATION_LATE: SignedDuration = SignedDuration::from_mins(90);

/// From a minute of clock skew on, somebody should look at the clock: AWS rejects signatures from 5 minutes on.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Requests that take longer are slow: the default time-out of every SDK.
pub const SLOW: Duration = Duration::from_secs(1);

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Credentials resolve.
    Usable,
    /// Credentials resolve, but something is wrong.
    Warning,
    /// Credentials do not resolve.
    Failing,
}

impl Verdict {
    /// The exit code of `check`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usable => 0,
            Self::Failing => 1,
            Self::Warning => 2,
        }
    }
}

/// What a boto3 client gets that is created now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NewClient {
    /// Credentials.
    Signs,
    /// Nothing, permanently.
    BoundToNothing,
    /// None: its creation raises an error.
    Raises,
}

/// What is wrong although credentials resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The credentials have expired.
    Expired,
    /// The document should have been rotated by now.
    RotationLate,
    /// The clocks differ.
    ClockSkew,
    /// A request took longer than an SDK waits.
    Slow,
    /// The role is not the expected one.
    UnexpectedRole,
    /// Credentials resolve by IMDSv1 only.
    V1Fallback,
    /// SDKs ask IMDS through a proxy.
    ImdsThroughProxy,
    /// The signed call got no verdict of AWS.
    SignedCallFailed,
}

impl Warning {
    const fn text(self) -> &'static str {
        match self {
            Self::Expired => {
                "The credentials have expired. AWS may still accept them for a while, but IMDS has no newer ones: open a case with AWS."
            }
            Self::RotationLate => {
                "The credentials have not been rotated for over 90 minutes; IMDS usually rotates them every hour. Watch the expiration."
            }
            Self::ClockSkew => {
                "The local clock and IMDS's differ by more than a minute: signatures fail from 5 minutes on. Fix NTP (chronyc tracking)."
            }
            Self::Slow => {
                "A request took longer than the 1 s that SDKs wait by default: their clients fail where this check did not."
            }
            Self::UnexpectedRole => "The role is not the expected one: check the instance profile.",
            Self::V1Fallback => {
                "It works by IMDSv1 only: boto3 needs up to a second more for each new client, SDKs that know IMDSv2 only fail, and AWS_EC2_METADATA_V1_DISABLED=true would break the workload."
            }
            Self::ImdsThroughProxy => {
                "SDKs with this environment send their requests to IMDS through a proxy, which this check does not: add the address of IMDS to NO_PROXY."
            }
            Self::SignedCallFailed => "STS cannot be asked: whether AWS accepts the credentials is unknown.",
        }
    }
}

/// What an exporter on this machine says of one client.
#[derive(Clone, Debug, Deserialize)]
pub struct KnownClient {
    created: String,
    #[serde(flatten)]
    prognosis: Option<Prognosis>,
}

/// What the state means for one client.
#[derive(Clone, Debug, Serialize)]
struct ClientJson {
    created: &'static str,
    #[serde(skip)]
    meaning: &'static str,
    #[serde(flatten)]
    prognosis: Prognosis,
    text: String,
}

/// A signed call.
#[derive(Clone, Debug)]
pub struct SignedCheck {
    /// The address of STS; `None` if the region is unknown, so that nothing was sent.
    pub endpoint: Option<String>,
    /// How long the call took.
    pub duration: Duration,
    /// Whose credentials they are, or why AWS did not say.
    pub outcome: Result<CallerIdentity, CallFailure>,
}

impl SignedCheck {
    fn status(&self) -> Option<u16> {
        self.outcome.as_ref().map_or_else(|failure| failure.status, |_| Some(200))
    }

    fn text(&self, place: Place) -> String {
        let endpoint = self.endpoint.as_deref().unwrap_or("none: the region is unknown");
        let step = line("sts:GetCallerIdentity", self.status(), self.duration);
        let mut text = format!("\nSigning a call to STS with these credentials ({endpoint}).\n\n  {step}\n\n");
        match &self.outcome {
            Ok(CallerIdentity { caller: Caller { account, role }, user_id, arn }) => {
                let role = role.as_ref().map_or("none", RoleName::as_str);
                let _infallible = writeln!(
                    text,
                    "ACCEPTED: AWS accepts the credentials.\n\n  Account         {account}\n  Role            {role}\n  User id         {user_id}\n  ARN             {arn}"
                );
            }
            Err(CallFailure { reason, code, .. }) => {
                let Explanation { cause, confirm, action, .. } = reason_explanation(*reason, place);
                let verdict = if reason.is_refusal() {
                    "REFUSED: AWS refuses the credentials"
                } else {
                    "UNKNOWN: STS cannot be asked"
                };
                let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                let _infallible = writeln!(
                    text,
                    "{verdict}: {reason}{code}\n\n  What it means   {}\n  Likely cause    {cause}\n  To confirm      {confirm}\n  What to do      {}",
                    reason.when(),
                    action.replace('`', ""),
                );
            }
        }
        text
    }

    fn json(&self, place: Place) -> SignedCheckJson<'_> {
        let identity = self.outcome.as_ref().ok();
        let failure = self.outcome.as_ref().err();
        SignedCheckJson {
            accepted: match failure {
                None => Some(true),
                Some(failure) => failure.reason.is_refusal().then_some(false),
            },
            endpoint: self.endpoint.as_deref(),
            duration_seconds: self.duration.as_secs_f64(),
            status: self.status(),
            account: identity.map(|identity| identity.caller.account.as_str()),
            role: identity.and_then(|identity| identity.caller.role.as_ref()),
            user_id: identity.map(|identity| identity.user_id.as_str()),
            arn: identity.map(|identity| identity.arn.as_str()),
            failure: failure.map(|CallFailure { reason, code, .. }| {
                let Explanation { cause, confirm, action, .. } = reason_explanation(*reason, place);
                ReasonJson { reason: *reason, code: *code, when: reason.when(), cause, confirm, action }
            }),
        }
    }
}

#[derive(Serialize)]
struct SignedCheckJson<'a> {
    /// Null if STS could not be asked.
    accepted: Option<bool>,
    endpoint: Option<&'a str>,
    duration_seconds: f64,
    status: Option<u16>,
    account: Option<&'a str>,
    role: Option<&'a RoleName>,
    user_id: Option<&'a str>,
    arn: Option<&'a str>,
    failure: Option<ReasonJson>,
}

#[derive(Serialize)]
struct ReasonJson {
    reason: Reason,
    code: Option<&'static str>,
    when: &'static str,
    cause: String,
    confirm: String,
    action: String,
}

/// One resolution and what is needed to judge it.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The address of IMDS.
    pub endpoint: &'a str,
    /// The resolution.
    pub resolution: &'a Resolution,
    /// When it ended.
    pub at: Timestamp,
    /// The expected role.
    pub expected_role: Option<&'a RoleName>,
    /// What the SDKs' default chain finds in this environment before it would ask IMDS.
    pub shadowed: Option<Shadow>,
    /// Where this program runs.
    pub place: Place,
    /// The proxy variable through which SDKs with this environment ask IMDS.
    pub imds_through_proxy: Option<&'static str>,
    /// The signed call, if one was asked for and there were credentials to sign it with.
    pub signed: Option<&'a SignedCheck>,
    /// The last outage that an exporter on this machine knows of.
    pub last_outage: Option<Window>,
    /// What an exporter on this machine says of clients.
    pub known_clients: Vec<KnownClient>,
}

impl Report<'_> {
    /// What is wrong although credentials resolve.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let Ok(credential) = &self.resolution.outcome else { return Vec::new() };
        let late = credential.last_updated.is_some_and(|updated| updated.duration_until(self.at) > ROTATION_LATE);
        let skewed = self.resolution.clock_skew.is_some_and(|skew| skew.abs() > CLOCK_SKEW);
        // A token request that is lost takes as long as an SDK waits for it too.
        let counts =
            |record: &&RequestRecord| self.resolution.v1_fallback.is_none() || record.request != Request::Token;
        let slow = self.resolution.requests.iter().filter(counts).any(|record| record.duration >= SLOW);
        let unexpected = self.expected_role.is_some_and(|expected| *expected != credential.role);
        let found = [
            (credential.expiration <= self.at, Warning::Expired),
            (late, Warning::RotationLate),
            (skewed, Warning::ClockSkew),
            (slow, Warning::Slow),
            (unexpected, Warning::UnexpectedRole),
            (self.resolution.v1_fallback.is_some(), Warning::V1Fallback),
            (self.imds_through_proxy.is_some(), Warning::ImdsThroughProxy),
            (self.signed_call_failure().is_some_and(|failure| !failure.reason.is_refusal()), Warning::SignedCallFailed),
        ];
        found.into_iter().filter_map(|(is, warning)| is.then_some(warning)).collect()
    }

    fn signed_call_failure(&self) -> Option<&CallFailure> {
        self.signed?.outcome.as_ref().err()
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let refused = self.signed_call_failure().is_some_and(|failure| failure.reason.is_refusal());
        match &self.resolution.outcome {
            Err(_) => Verdict::Failing,
            Ok(_) if refused => Verdict::Failing,
            Ok(_) if self.warnings().is_empty() => Verdict::Usable,
            Ok(_) => Verdict::Warning,
        }
    }

    /// What a boto3 client gets that is created now.
    #[must_use]
    pub fn new_client(&self) -> NewClient {
        match self.resolution.creation {
            Creation::Credentials { .. } => NewClient::Signs,
            Creation::Nothing => NewClient::BoundToNothing,
            Creation::Raises | Creation::Unknown => NewClient::Raises,
        }
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(shadowed) = self.shadowed {
            let _infallible = writeln!(
                text,
                "NOTE: SDKs with this environment do not ask IMDS. Their default chain finds credentials before:\n      {}\n",
                shadowed.meaning()
            );
        }
        let _infallible = writeln!(text, "Requesting the role's credentials from {}, as an SDK does.\n", self.endpoint);
        for request in &self.resolution.requests {
            let _infallible = writeln!(text, "  {}", step_line(request));
        }
        if !self.resolution.requests.is_empty() {
            text.push('\n');
        }
        match &self.resolution.outcome {
            Ok(credential) => text.push_str(&self.usable(credential)),
            Err(failure) => text.push_str(&self.failing(*failure)),
        }
        if let Some(signed) = self.signed {
            text.push_str(&signed.text(self.place));
        }
        if self.shadowed.is_none() {
            text.push_str(&self.clients());
            text.push_str(&self.clients_text());
        }
        text
    }

    /// What the state means for boto3 clients.
    fn clients_json(&self) -> Vec<ClientJson> {
        if self.shadowed.is_some() {
            return Vec::new();
        }
        let now = (Created::Now, Prognosis::of_new_client(self.resolution.creation, self.at));
        let known = self.known_clients.iter().filter_map(|client| {
            let created = Created::VARIANTS.iter().find(|created| created.label() == client.created)?;
            client.prognosis.filter(|_| *created != Created::Now).map(|prognosis| (*created, prognosis))
        });
        std::iter::once(now)
            .chain(known)
            .map(|(created, prognosis)| ClientJson {
                created: created.label(),
                meaning: created.meaning(),
                prognosis,
                text: sentence(created, Some(prognosis), self.at).to_string(),
            })
            .collect()
    }

    fn clients_text(&self) -> String {
        let mut text = "\nWhat this means for boto3 clients:\n".to_owned();
        for ClientJson { meaning, text: sentence, .. } in self.clients_json() {
            let _infallible = writeln!(text, "  A client {meaning}: {sentence}");
        }
        text
    }

    fn usable(&self, credential: &Credential) -> String {
        let remaining = credential.remaining(self.at);
        let (role, expiration) = (&credential.role, credential.expiration);
        let mut text = if remaining.is_positive() {
            format!("USABLE: role {role}, credentials until {expiration} ({} left).\n", Span(remaining))
        } else {
            format!("EXPIRED: role {role}, credentials expired at {expiration} ({} ago).\n", Span(-remaining))
        };
        for warning in self.warnings() {
            let _infallible = writeln!(text, "WARNING: {}", warning.text());
        }
        text
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances { place: self.place, evidence: self.resolution.evidence }
    }

    fn failing(&self, failure: Failure) -> String {
        let Failure { kind, step } = failure;
        let Explanation { cause, confirm, action, .. } = explanation(kind, self.circumstances());
        let detail = self.resolution.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        format!(
            "FAILING: {kind}, in the {step} step{detail}\n\n  What it means   {}\n  Likely cause    {cause}\n  To confirm      {confirm}\n  What to do      {}\n",
            kind.when(),
            action.replace('`', ""),
        )
    }

    fn clients(&self) -> String {
        let text = match (&self.resolution.outcome, self.last_outage) {
            (Err(_), _) if self.new_client() == NewClient::Raises => {
                "Creating a boto3 client raises an error now, so that the program ends instead of running without credentials.\n\
                 Existing clients keep working until shortly before their credentials expire."
                    .to_owned()
            }
            (Err(_), _) => {
                "A boto3 client that is created now gets no credentials, now or later: it must be re-created when this is over.\n\
                 Existing clients keep working until 15 minutes before their credentials expire."
                    .to_owned()
            }
            (Ok(_), Some(Window { start, end })) => format!(
                "IMDS is fine, but a boto3 client that was created between {} and {} has no credentials until it is re-created.",
                start.strftime("%H:%M:%S"),
                end.strftime("%H:%M:%S UTC on %Y-%m-%d"),
            ),
            (Ok(_), None) => {
                "A boto3 client that is created now can sign. If a program still raises NoCredentialsError, its client was created\n\
                 in an earlier outage: re-create the client (restart the program); retrying the call never helps."
                    .to_owned()
            }
        };
        format!("\n{text}\n")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct StepJson {
            request: Request,
            duration_seconds: f64,
            status: Option<u16>,
        }
        #[derive(Serialize)]
        struct FailureJson {
            kind: Kind,
            step: Step,
            when: &'static str,
            cause: String,
            confirm: String,
            action: String,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            verdict: Verdict,
            endpoint: &'a str,
            at: Timestamp,
            steps: Vec<StepJson>,
            chain_shadowed: Option<Shadow>,
            imds_through_proxy: Option<&'static str>,
            v1_fallback: Option<Kind>,
            new_client: Option<NewClient>,
            role: Option<&'a RoleName>,
            expiration: Option<Timestamp>,
            remaining_seconds: Option<i64>,
            last_updated: Option<Timestamp>,
            clock_skew_seconds: Option<f64>,
            warnings: Vec<Warning>,
            failure: Option<FailureJson>,
            signed_call: Option<SignedCheckJson<'a>>,
            last_outage: Option<Window>,
            clients: Vec<ClientJson>,
        }
        let credential = self.resolution.outcome.as_ref().ok();
        let steps = self.resolution.requests.iter().map(|request| StepJson {
            request: request.request,
            duration_seconds: request.duration.as_secs_f64(),
            status: request.status,
        });
        let json = Json {
            verdict: self.verdict(),
            endpoint: self.endpoint,
            at: self.at,
            steps: steps.collect(),
            chain_shadowed: self.shadowed,
            imds_through_proxy: self.imds_through_proxy,
            v1_fallback: self.resolution.v1_fallback,
            new_client: self.shadowed.is_none().then(|| self.new_client()),
            role: credential.map(|credential| &credential.role),
            expiration: credential.map(|credential| credential.expiration),
            remaining_seconds: credential.map(|credential| credential.remaining(self.at).as_secs()),
            last_updated: credential.and_then(|credential| credential.last_updated),
            clock_skew_seconds: self.resolution.clock_skew.map(|skew| skew.as_secs_f64()),
            warnings: self.warnings(),
            failure: self.resolution.outcome.as_ref().err().map(|Failure { kind, step }| {
                let Explanation { cause, confirm, action, .. } = explanation(*kind, self.circumstances());
                FailureJson { kind: *kind, step: *step, when: kind.when(), cause, confirm, action }
            }),
            signed_call: self.signed.map(|signed| signed.json(self.place)),
            last_outage: self.last_outage,
            clients: self.clients_json(),
        };
        let mut text = serde_json::to_string_pretty(&json).expect("all keys are strings");
        text.push('\n');
        text
    }
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
