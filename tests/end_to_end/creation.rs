//! What the creation of a boto3 client does under each fault of the simulator, in the oldest version and the newest, and what the
//! exporter says of it: it signs, it is bound to nothing, or `client()` raises an error.

use imds_exporter::domain::{Creation, Request, Resolution, Source, Step};
use imds_exporter::imds::ImdsOptions;
use imds_exporter::simulator::{Change, Simulator};

use crate::clients::{self, Clients, VERSIONS};
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
    /// It holds what it cannot sign with.
    Fails,
}
use Does::{Binds, Fails, Raises, Signs};

/// Whether tokens are optional, and IMDSv1 disabled in the environment.
const COLUMNS: [(&str, bool); 4] = [("optional", false), ("required", false), ("required", true), ("optional", true)];

/// Numbers of requests. The exporter alone asks why there is no role, and probes for the hop limit.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    token: u64,
    credentials: u64,
    without_token: u64,
}

/// Without the exporter's own questions, in this many requests for `iam/info` without a token.
fn sent_since(before: &Sent, simulator: &Simulator, info_without_token: u64) -> Sent {
    let now = simulator.counts();
    Sent {
        token: now.token - before.token,
        credentials: now.credentials - before.credentials,
        without_token: now.without_token - before.without_token - info_without_token,
    }
}

const NOTHING: Sent = Sent { token: 0, credentials: 0, without_token: 0 };

fn asked(resolution: &Resolution, request: Request) -> u64 {
    resolution.requests.iter().filter(|record| record.request == request).count() as u64
}

async fn create(boto3: &mut Clients) -> Does {
    let (client, creation) = boto3.create_new().await;
    match creation {
        clients::Creation::Bound => match boto3.sign(&client).await {
            Ok(()) => Signs,
            // It holds something that is no text.
            Err(error) if error == "TypeError" => Fails,
            Err(error) => panic!("a new client holds credentials, but cannot sign: {error}"),
        },
        clients::Creation::BoundToNothing => Binds,
        clients::Creation::Raised(_) => Raises,
    }
}

/// Whether what the exporter says is true of a version.
fn holds(said: Creation, v1_disabled: bool, version: &str, does: Does) -> bool {
    match said {
        Creation::Credentials { .. } => does == Signs,
        Creation::Nothing => matches!(does, Binds | Fails),
        Creation::Unusable => does == Fails,
        // Before 1.29.4, boto3 does not know the variable.
        Creation::Raises => does == Raises || (v1_disabled && version != VERSIONS[0] && does == Binds),
        Creation::Unknown => true,
    }
}

/// What differs in one column, the number of clients, and that of those of which nothing is said, or that hold what nobody can
/// sign with.
async fn differences((tokens, v1_disabled): (&str, bool)) -> (Vec<String>, usize, usize) {
    let simulator = start_simulator().await;
    apply(&simulator, &Change::parse(&format!("tokens = \"{tokens}\"")).expect("a change")).await;
    let environment: &[_] = if v1_disabled { &[("AWS_EC2_METADATA_V1_DISABLED", "True")] } else { &[] };
    let start = |version| Clients::start_version(version, simulator.address(), environment);
    let [newest, oldest] = [VERSIONS[0], VERSIONS[VERSIONS.len() - 1]];
    let mut clients = [(newest, start(newest)), (oldest, start(oldest))];
    let (mut differences, mut created, mut absent) = (Vec::new(), 0, 0);
    let faults = server_side_kinds().flat_map(all_faults).flat_map(|fault| {
        let only_there = Change { only_step: Some(true), ..Change::from(fault) };
        [Some((fault, Change::from(fault))), (fault.step == Step::Token).then_some((fault, only_there))]
    });
    for (fault, change) in faults.flatten() {
        apply(&simulator, &change).await;
        let start = sent_since(&NOTHING, &simulator, 0);
        // It meets IMDS for the first time, as each client does.
        let mut imds = imds_client(ImdsOptions { v1_disabled, ..imds_options_for(&simulator) });
        let resolution = imds.resolve().await;
        let info = asked(&resolution, Request::ProfileInfo);
        let info_without_token = info * u64::from(asked(&resolution, Request::RoleWithoutToken) > 0);
        let by_exporter = sent_since(&start, &simulator, info_without_token);
        for (version, boto3) in &mut clients {
            let before = sent_since(&NOTHING, &simulator, 0);
            let does = create(boto3).await;
            created += 1;
            absent += usize::from(resolution.creation == Creation::Unknown || does == Fails);
            let by_boto3 = sent_since(&before, &simulator, 0);
            // Where it is not known what boto3 does, it may ask for a role whose name the exporter does not take for one.
            let comparable = *version == newest && resolution.creation != Creation::Unknown;
            let same_requests = !comparable || by_exporter == by_boto3;
            if !holds(resolution.creation, v1_disabled, version, does) || !same_requests {
                differences.push(format!(
                    "{fault:?}, only there: {:?}, tokens {tokens}, IMDSv1 disabled: {v1_disabled}: {:?}, boto3 {version} {does:?}; \
                     sent: {by_exporter:?}, {by_boto3:?}",
                    change.only_step, resolution.creation,
                ));
            }
        }
        if v1_disabled {
            assert_eq!(by_exporter.without_token, 0, "{fault:?}: a request without a token where IMDSv1 is disabled");
        } else if resolution.outcome.is_err() {
            let before = simulator.counts().without_token;
            imds.resolve().await;
            assert_eq!(simulator.counts().without_token, before, "{fault:?}: a refused fallback is sent again");
        }
    }
    (differences, created, absent)
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn each_fault_does_to_a_new_client_what_the_exporter_says() {
    let [one, two, three, four] = COLUMNS.map(differences);
    let (one, two, three, four) = tokio::join!(one, two, three, four);
    let columns = [one, two, three, four];
    let differences: Vec<_> = columns.iter().flat_map(|(differences, ..)| differences.clone()).collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    let sum = |v1_disabled: bool| {
        let of = columns.iter().zip(COLUMNS).filter(|(_, (_, disabled))| *disabled == v1_disabled);
        of.fold((0, 0), |(created, absent), ((_, more, unknown), _)| (created + more, absent + unknown))
    };
    // Where IMDSv1 is disabled, versions differ.
    let ((created, absent), (with_v1_disabled, unknown)) = (sum(false), sum(true));
    println!("{created} clients, {absent} unknown; {with_v1_disabled} with IMDSv1 disabled, {unknown} unknown");
    assert!(created >= 300 && with_v1_disabled >= 300, "{created} and {with_v1_disabled} clients");
}
