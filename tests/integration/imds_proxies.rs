//! What a poll makes of IMDS proxies and of other clouds, in each step of the scenarios that simulate them: the role where
//! an SDK gets credentials, else the kind of failure; and whether EC2 or another server answered.

use imds_exporter::domain::Kind::{
    NoRole, ProfileWithoutRole, ReadTimeout, ServerError, TokenForbidden, TokenRejected, TokenUnsupported,
};
use imds_exporter::domain::Server::{self, Ec2, Other};
use imds_exporter::domain::{Kind, Source, Step};
use imds_exporter::simulator::Scenario;

use crate::support::simulator::{apply, imds_client_for, start_simulator};

/// Where an SDK works, the role, and why it does so without a token; else the failure. And who gave the last answer.
type Seen = (Result<(&'static str, Option<Kind>), (Kind, Step)>, Option<Server>);

const ROLE: &str = "simulated-role";

/// What is seen in each step.
const PLAYED: [(&str, &[Seen]); 3] = [
    (
        "kube2iam",
        &[
            (Ok((ROLE, None)), Some(Ec2)),
            (Ok(("arn:aws:iam::210987654321:role/team/app", None)), Some(Ec2)),
            (Ok((ROLE, Some(TokenForbidden))), Some(Ec2)),
            (Err((ProfileWithoutRole, Step::Role)), Some(Ec2)),
            (Err((ProfileWithoutRole, Step::Role)), Some(Ec2)),
            (Err((ReadTimeout, Step::Role)), Some(Ec2)),
            (Ok((ROLE, None)), Some(Ec2)),
        ],
    ),
    (
        "kiam",
        &[
            // kiam passes the token request on, and answers the others itself.
            (Ok((ROLE, None)), None),
            (Ok(("team/app", None)), None),
            (Err((NoRole, Step::Role)), None),
            (Ok((ROLE, Some(TokenUnsupported))), None),
            (Err((NoRole, Step::Role)), None),
            (Err((ServerError, Step::Credentials)), None),
            (Ok((ROLE, None)), Some(Ec2)),
        ],
    ),
    (
        "not-ec2",
        &[
            (Err((NoRole, Step::Role)), None),
            (Err((NoRole, Step::Role)), Some(Other)),
            (Err((TokenRejected, Step::Token)), Some(Other)),
            (Err((NoRole, Step::Role)), Some(Other)),
            (Ok((ROLE, None)), Some(Ec2)),
        ],
    ),
];

#[tokio::test]
async fn sdks_that_work_behind_a_proxy_are_no_failure_and_the_others_have_their_kind() {
    for (name, expected) in PLAYED {
        let simulator = start_simulator().await;
        let scenario = Scenario::parse(Scenario::bundled(name).expect("it is bundled")).expect("a scenario");
        assert_eq!(scenario.steps.len(), expected.len(), "{name}");
        for (step, expected) in scenario.steps.iter().zip(expected) {
            apply(&simulator, step).await;
            let resolution = imds_client_for(&simulator).resolve().await;
            let what = format!("{name}: {:?}: {:?}", step.say, resolution.cause);
            let outcome = match &resolution.outcome {
                Ok(credential) => Ok((credential.role.as_str(), resolution.v1_fallback)),
                Err(failure) => Err((failure.kind, failure.step)),
            };
            assert_eq!((outcome, resolution.evidence.server), *expected, "{what}");
        }
    }
}
