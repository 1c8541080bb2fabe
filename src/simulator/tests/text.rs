//! Scenarios and changes in TOML.

use std::time::Duration;
use strum::VariantArray;

use super::client::{apply, simulator};
use crate::domain::Kind;
use crate::simulator::{Change, Health, Scenario, is_client_side};

#[test]
fn bundled_scenarios_are_valid() {
    for (name, text) in Scenario::bundled() {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.starts_with("# "), "{name} explains its keys");
        assert!(scenario.steps.len() > 1 && !scenario.description.is_empty(), "{name}");
        assert_eq!(scenario.steps[0].at, Duration::ZERO, "{name}");
    }
}

#[test]
fn the_scenario_all_kinds_has_every_kind_that_a_server_can_produce() {
    let (_, text) = Scenario::bundled().iter().find(|(name, _)| *name == "all-kinds").unwrap();
    let steps = Scenario::parse(text).unwrap().steps;
    let played: Vec<Kind> = steps
        .iter()
        .filter_map(|step| match step.change.fault {
            Some(Health::Faulty(fault)) => Some(fault.kind()),
            _ => None,
        })
        .collect();
    let possible: Vec<Kind> = Kind::VARIANTS.iter().copied().filter(|kind| !is_client_side(*kind)).collect();
    assert_eq!(played, possible);
}

#[test]
fn errors_name_the_key_and_the_line() {
    for (text, line, word) in [
        ("nonsense", 1, "key"),
        ("\nfalt = 'none'", 2, "falt"),
        ("rotate = 'yes'", 1, "rotate"),
        ("fault = 'broken'", 1, "`fault`"),
        ("fault = 'network_unreachable'", 1, "127.255.255.255"),
        ("fault = 'disabled_by_environment'", 1, "AWS_EC2_METADATA_DISABLED"),
        ("fault = 'token_rejected'\nstep = 'credentials'", 2, "`step`"),
        ("fault = 'throttled'\nstep = 'elsewhere'", 2, "`step`"),
        ("fault = 'read_timeout'\nvariant = 'slow'", 2, "hang, drip"),
        ("fault = 'throttled'\nvariant = 'slow'", 2, "no variants"),
        ("fault = 'throttled'\nfield = 'Token'", 2, "`field`"),
        ("fault = 'incomplete_document'\nfield = 'Secret'", 2, "`field`"),
        ("step = 'token'", 1, "`step`"),
        ("fault = 'none'\nflap = '3s'", 2, "`flap`"),
        ("delay = 'long'", 1, "`delay`"),
        ("delay = '1001 days'", 1, "`delay`"),
        ("token_delay = 'long'", 1, "`token_delay`"),
        ("get_delay = '1001 days'", 1, "`get_delay`"),
        ("only_step = 'yes'", 1, "only_step"),
        ("flap = '0s'", 1, "`flap`"),
        ("expires_in = '--5m'", 1, "`expires_in`"),
        ("rotation = 'never'", 1, "`rotation`"),
        ("role = 'a/b'", 1, "`role`"),
        ("tokens = 'none'", 1, "`tokens`"),
        ("at = '0s'", 1, "`at`"),
    ] {
        let error = Change::parse(text).expect_err(text);
        assert_eq!(error.line(), line, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
    let long = format!("document = '{}'", "x".repeat(64 * 1024));
    assert!(Change::parse(&long).is_err());
}

#[test]
fn scenarios_are_limited_in_length_and_ordered_by_time() {
    for (text, line, word) in [
        ("title = 'a'", 1, "`step`"),
        ("[[step]]\nat = '0s'", 1, "title"),
        ("title = 'a'\n[[step]]\nfault = 'none'", 2, "`at`"),
        ("title = 'a'\n[[step]]\nat = '2s'\n[[step]]\nat = '1s'", 5, "`at`"),
        ("title = 'a'\n[[step]]\nat = '2s'\nfault = 'none'\nvariant = 'a'", 5, "`variant`"),
        ("title = 'a'\nextra = 1", 2, "extra"),
    ] {
        let error = Scenario::parse(text).expect_err(text);
        assert_eq!(error.line(), line, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
    let many = format!("title = 'a'\n{}", "[[step]]\nat = '0s'\n".repeat(1_001));
    assert!(Scenario::parse(&many).unwrap_err().to_string().contains("1000"));
}

#[tokio::test]
async fn steps_are_played_at_their_time() {
    let simulator = simulator().await;
    let text = "title = 'a'\n[[step]]\nat = '0s'\nfault = 'throttled'\n\
                [[step]]\nat = '30ms'\nsay = 'well again'\nfault = 'none'\nrole = 'other'";
    let start = tokio::time::Instant::now();
    let mut said = Vec::new();
    simulator.play(&Scenario::parse(text).unwrap(), |step| said.push(step.say.clone())).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(said, [None, Some("well again".to_owned())]);
    assert_eq!((simulator.settings().fault, simulator.settings().role.as_str()), (None, "other"));
}

#[tokio::test]
async fn settings_are_shown_under_their_keys() {
    let simulator = simulator().await;
    apply(&simulator, "fault = 'incomplete_document'\ndelay = '800ms'\nclock_skew = '-90s'\nrotation = 'off'").await;
    let shown = serde_json::to_value(simulator.settings()).unwrap();
    assert_eq!(shown["fault"]["kind"], "incomplete_document");
    assert_eq!(shown["fault"]["field"], "SecretAccessKey");
    assert_eq!((&shown["delay"], &shown["clock_skew"]), (&"800ms".into(), &"-1m 30s".into()));
    assert_eq!((&shown["rotation"], &shown["lifetime"]), (&"off".into(), &"6h 34m".into()));
}
