//! What the creation of a boto3 client does in each state of IMDS, and what the exporter says of it: it signs, it is bound
//! to nothing, or `client()` raises an error.

use std::time::Duration;

use imds_exporter::domain::boto3::{BoundCredentials, Created};
use imds_exporter::domain::state::{State, WorkloadEnvironment};
use imds_exporter::domain::{Kind, Request, Resolution, Source, Step};
use imds_exporter::imds::{Imds, Options};
use imds_exporter::platform::clock::{Clock, SystemClock};
use imds_exporter::simulator::{Change, Fault, Simulator};

use crate::clients::{Clients, Creation};
use crate::support::simulator::{all_faults, apply, imds_client, imds_options_for, server_side_kinds, start_simulator};

/// What a client that is created now does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// It signs.
    Signs,
    /// It is bound to nothing, permanently.
    Binds,
    /// `client()` raises an error.
    Raises,
}
use Does::{Binds, Raises, Signs};

/// A simulator, and boto3 and the exporter's client with one environment.
struct Instance {
    simulator: Simulator,
    boto3: Clients,
    v1_disabled: bool,
    created: usize,
}

/// What was seen in one state of IMDS.
struct Seen {
    boto3: Does,
    /// The error, if `client()` raised one.
    error: Option<String>,
    exporter: Does,
    resolution: Resolution,
    by_exporter: Sent,
    by_boto3: Sent,
}

/// Numbers of requests. The exporter alone asks why there is no role, and probes for the hop limit.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    token: u64,
    credentials: u64,
    without_token: u64,
}

impl Instance {
    async fn start(tokens: &str, v1_disabled: bool) -> Self {
        let simulator = start_simulator().await;
        apply(&simulator, &Change::parse(&format!("tokens = \"{tokens}\"")).expect("a change")).await;
        let environment: &[_] = if v1_disabled { &[("AWS_EC2_METADATA_V1_DISABLED", "True")] } else { &[] };
        let boto3 = Clients::start(simulator.address(), environment);
        Self { simulator, boto3, v1_disabled, created: 0 }
    }

    /// Both meet IMDS for the first time after this change.
    async fn after(&mut self, what: &str, change: &Change) -> Seen {
        apply(&self.simulator, change).await;
        let options = Options { v1_disabled: self.v1_disabled, ..imds_options_for(&self.simulator) };
        let mut imds = imds_client(options);

        let before = self.simulator.counts();
        let resolution = imds.resolve().await;
        let between = self.simulator.counts();
        let (client, creation) = self.boto3.create_new().await;
        let (boto3, error) = match creation {
            Creation::Bound if self.boto3.signs(&client).await => (Signs, None),
            Creation::Bound => panic!("{what}: a new client holds credentials, but cannot sign"),
            Creation::BoundToNothing => (Binds, None),
            Creation::Raised(error) => (Raises, Some(error)),
        };
        self.created += 1;
        let after = self.simulator.counts();
        let info_without_token =
            asked(&resolution, Request::ProfileInfo) * u64::from(asked(&resolution, Request::RoleWithoutToken) > 0);
        let by_exporter = Sent {
            token: between.token - before.token,
            credentials: between.credentials - before.credentials,
            without_token: between.without_token - before.without_token - info_without_token,
        };
        let by_boto3 = Sent {
            token: after.token - between.token,
            credentials: after.credentials - between.credentials,
            without_token: after.without_token - between.without_token,
        };
        if self.v1_disabled {
            assert_eq!(after.without_token, 0, "{what}: a request without a token where IMDSv1 is disabled");
        } else if resolution.outcome.is_err() {
            self.refused_fallback_is_not_repeated(what, &mut imds).await;
        }
        Seen { exporter: Self::said(what, &resolution), boto3, error, resolution, by_exporter, by_boto3 }
    }

    /// A fallback that was sent and refused is not sent again while the failure stays the same.
    async fn refused_fallback_is_not_repeated(&self, what: &str, imds: &mut Imds) {
        let before = self.simulator.counts().without_token;
        imds.resolve().await;
        assert_eq!(self.simulator.counts().without_token, before, "{what}: the next poll sent it again");
    }

    /// What the exporter says after its first poll: by its metric, and of what a client holds.
    fn said(what: &str, resolution: &Resolution) -> Does {
        let at = SystemClock.now();
        let mut state = State::new(WorkloadEnvironment::default(), at);
        state.record(resolution, Duration::ZERO, at);
        let usable = state.client_usable(Created::Now, at);
        let does = match BoundCredentials::created(resolution.creation, at) {
            BoundCredentials::OneOf(_) => Signs,
            BoundCredentials::Nothing => Binds,
            BoundCredentials::Unknown => Raises,
        };
        assert!(
            usable.is_none_or(|usable| usable == (does == Signs)),
            "{what}: usable now, and what a client would hold"
        );
        does
    }
}

fn asked(resolution: &Resolution, request: Request) -> u64 {
    resolution.requests.iter().filter(|record| record.request == request).count() as u64
}

/// The states of the table: the token request, then those after it. Each with what a client does where tokens are
/// optional, where they are required, and where IMDSv1 is disabled.
const STATES: &[(&str, [Does; 3])] = &[
    ("fault = \"connect_refused\"", [Binds, Binds, Raises]),
    ("fault = \"hop_limit\"", [Signs, Binds, Raises]),
    ("fault = \"read_timeout\"\nonly_step = true", [Signs, Binds, Raises]),
    ("fault = \"read_timeout\"", [Binds, Binds, Raises]),
    ("fault = \"imds_disabled\"\nonly_step = true", [Signs, Binds, Raises]),
    ("fault = \"imds_disabled\"", [Binds, Binds, Raises]),
    ("fault = \"token_unsupported\"\nvariant = \"404\"", [Signs, Binds, Raises]),
    ("fault = \"token_unsupported\"\nvariant = \"405\"", [Signs, Binds, Raises]),
    ("fault = \"throttled\"\nonly_step = true", [Signs, Binds, Raises]),
    ("fault = \"throttled\"", [Binds, Binds, Raises]),
    ("fault = \"server_error\"\nonly_step = true", [Signs, Binds, Raises]),
    ("fault = \"server_error\"", [Binds, Binds, Raises]),
    ("fault = \"invalid_response\"\nonly_step = true", [Signs, Binds, Raises]),
    ("fault = \"invalid_response\"", [Binds, Binds, Raises]),
    ("fault = \"token_rejected\"", [Binds, Binds, Binds]),
    ("fault = \"no_role\"", [Binds, Binds, Binds]),
    ("fault = \"server_error\"\nstep = \"role\"", [Binds, Binds, Binds]),
    ("fault = \"read_timeout\"\nstep = \"role\"", [Binds, Binds, Binds]),
    ("fault = \"role_not_found\"", [Binds, Binds, Binds]),
    ("fault = \"server_error\"\nstep = \"credentials\"", [Binds, Binds, Binds]),
    ("fault = \"read_timeout\"\nstep = \"credentials\"", [Binds, Binds, Binds]),
    ("fault = \"incomplete_document\"", [Binds, Binds, Binds]),
    ("fault = \"malformed_document\"\nvariant = \"html\"", [Binds, Binds, Binds]),
    ("fault = \"none\"", [Signs, Signs, Signs]),
];

/// The three columns of [`STATES`], and tokens that are optional where IMDSv1 is disabled, which makes no difference.
const COLUMNS: [(&str, bool, usize); 4] =
    [("optional", false, 0), ("required", false, 1), ("required", true, 2), ("optional", true, 2)];

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_new_client_signs_binds_or_raises_as_the_exporter_says() {
    let column = async |(tokens, v1_disabled, column): (&str, bool, usize)| {
        let mut instance = Instance::start(tokens, v1_disabled).await;
        for (state, expected) in STATES {
            let what = format!("{state}, tokens {tokens}, IMDSv1 disabled: {v1_disabled}");
            let seen = instance.after(&what, &Change::parse(state).expect("a change")).await;
            assert_eq!(seen.boto3, expected[column], "boto3: {what}: {:?}", seen.error);
            assert_eq!(seen.exporter, seen.boto3, "the exporter: {what}: {:?}", seen.resolution);
            assert_eq!(seen.by_exporter, seen.by_boto3, "requests of the exporter and of boto3: {what}");
            if seen.boto3 == Raises {
                assert_eq!(seen.error.as_deref(), Some("MetadataRetrievalError"), "{what}");
            }
        }
        instance.created
    };
    let [one, two, three, four] = COLUMNS.map(column);
    let created = tokio::join!(one, two, three, four);
    assert_eq!(created, (STATES.len(), STATES.len(), STATES.len(), STATES.len()));
}

/// What boto3 does with answers that IMDS never gives, and that the exporter takes for failures.
fn is_known_to_differ(fault: Fault, exporter: Does, boto3: Does) -> bool {
    match (fault.kind(), fault.variant()) {
        // boto3 takes any document with these fields, whatever is in them and whatever `Code` says; AWS then refuses its calls.
        (Kind::IncompleteDocument, variant) if variant != "missing" => (exporter, boto3) == (Binds, Signs),
        (Kind::Refused, _) => (exporter, boto3) == (Binds, Signs),
        // boto3 does not read this field.
        (Kind::InvalidTimestamp, "last_updated") => (exporter, boto3) == (Raises, Signs),
        // A document that is a number is a TypeError in boto3.
        (Kind::MalformedDocument, "number") => (exporter, boto3) == (Binds, Raises),
        // A token of more than 64 KiB is no token to the exporter; boto3 sends it, and is refused.
        (Kind::InvalidResponse, "too_large") if fault.step() == Step::Token => (exporter, boto3) == (Raises, Binds),
        _ => exporter == boto3,
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn every_fault_of_the_simulator_does_to_a_new_client_what_the_exporter_says() {
    let faults = server_side_kinds().flat_map(all_faults).flat_map(|fault| {
        let whole = Change::from(fault);
        let only_there = Change { only_step: Some(true), ..whole.clone() };
        [Some((fault, whole)), (fault.step() == Step::Token).then_some((fault, only_there))]
    });
    // One byte a second is a matter of moments: boto3 limits the time between two bytes, the exporter that of the whole.
    let faults = faults.flatten().filter(|(fault, _)| fault.variant() != "drip").collect::<Vec<_>>();
    let column = async |(tokens, v1_disabled, _): (&str, bool, usize)| {
        let mut instance = Instance::start(tokens, v1_disabled).await;
        let mut differences = Vec::new();
        for (fault, change) in &faults {
            let what = format!("{fault:?}, {:?}, tokens {tokens}, IMDSv1 disabled: {v1_disabled}", change.only_step);
            let seen = instance.after(&what, change).await;
            if !is_known_to_differ(*fault, seen.exporter, seen.boto3) {
                differences.push((what, seen.exporter, seen.boto3, seen.error));
            }
        }
        (instance.created, differences)
    };
    let [one, two, three, four] = COLUMNS.map(column);
    let ((a, one), (b, two), (c, three), (d, four)) = tokio::join!(one, two, three, four);
    let differences = [one, two, three, four].concat();
    assert!(differences.is_empty(), "{} differences: {differences:#?}", differences.len());
    let created = a + b + c + d;
    assert!(created >= 300, "{created} clients");
}
