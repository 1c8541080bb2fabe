//! Scenarios and changes in TOML.

use std::time::Duration;

use serde_json::json;
use strum::VariantArray;

use super::client::{apply, simulator};
use crate::domain::Kind;
use crate::simulator::{Change, Health, Scenario, is_client_side};

#[test]
fn bundled_scenarios_are_valid() {
    for (name, text) in Scenario::BUNDLED {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.steps[0].at, Some(Duration::ZERO), "{name}");
    }
}

#[test]
fn the_scenario_all_kinds_has_every_kind_that_a_server_can_produce() {
    let steps = Scenario::parse(Scenario::bundled("all-kinds").unwrap()).unwrap().steps;
    let played = steps.iter().filter_map(|step| match step.fault {
        Some(Health::Faulty(kind)) => Some(kind),
        _ => None,
    });
    let possible = Kind::VARIANTS.iter().copied().filter(|kind| !is_client_side(*kind));
    assert!(played.eq(possible));
}

#[test]
fn errors_name_the_key_and_the_line() {
    for (text, line, word) in [
        ("nonsense", 1, "nonsense"),
        ("\nfalt = 'none'", 2, "falt"),
        ("rotate = 'yes'", 1, "rotate"),
        ("fault = 'broken'", 1, "connect_refused"),
        ("fault = 'network_unreachable'", 1, "127.255.255.255"),
        ("fault = 'disabled_by_environment'", 1, "AWS_EC2_METADATA_DISABLED"),
        ("fault = 'token_rejected'\nstep = 'credentials'", 2, "`step`"),
        ("fault = 'throttled'\nstep = 'elsewhere'", 2, "credentials"),
        ("fault = 'read_timeout'\nvariant = 'slow'", 2, "hang, drip"),
        ("fault = 'throttled'\nvariant = 'slow'", 2, "none"),
        ("fields = { Token = 1 }", 1, "fields"),
        ("answers.tokens.status = 404", 1, "tokens"),
        ("answers.any.code = 404", 1, "code"),
        ("step = 'token'", 1, "`step`"),
        ("fault = 'none'\nflap = '3s'", 2, "`flap`"),
        ("delay = '-1s'", 1, "delay"),
        ("token_delay = 'long'", 1, "token_delay"),
        ("only_step = 'yes'", 1, "only_step"),
        ("expires_in = '--5m'", 1, "expires_in"),
        ("rotation = 'never'", 1, "rotation"),
        ("role = 'a//b'", 1, "role"),
        ("tokens = 'none'", 1, "tokens"),
        ("at = '0s'", 1, "`at`"),
    ] {
        let error = Change::parse(text).expect_err(text);
        assert_eq!(error.line(), line, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
}

#[test]
fn scenarios_are_ordered_by_time() {
    for (text, line, word) in [
        ("title = 'a'", 1, "`step`"),
        ("[[step]]\nat = '0s'", 1, "title"),
        ("title = 'a'\n[[step]]\nfault = 'none'", 2, "`at`"),
        ("title = 'a'\n[[step]]\nat = '2s'\n[[step]]\nat = '1s'", 5, "`at`"),
        ("title = 'a'\n[[step]]\nat = '2s'\nfault = 'none'\nvariant = 'a'", 5, "`variant`"),
        ("title = 'a'\nextra = 1", 2, "extra"),
        ("title = 'a'\nstep = []", 1, "`step`"),
    ] {
        let error = Scenario::parse(text).expect_err(text);
        assert_eq!(error.line(), line, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
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
    assert_eq!(simulator.settings().fault, Some(Health::Healthy));
    assert_eq!(simulator.credential().role.as_str(), "other");
}

#[tokio::test]
async fn what_was_set_is_shown_under_its_keys_until_it_is_over() {
    let simulator = simulator().await;
    for change in [
        "fault = 'read_timeout'\nvariant = 'drip'\nonly_step = true\nflap = '1h'",
        "fault = 'throttled'\ndelay = '800ms'\nclock_skew = '-90s'\nrotation = 'off'\nrotate = true\nexpires_in = '1h'",
        "rotation = '1h 5m'",
    ] {
        apply(&simulator, change).await;
    }
    let shown = json!({ "fault": "throttled", "delay": "800ms", "clock_skew": "1m 30s ago", "rotation": "1h 5m" });
    assert_eq!(serde_json::to_value(simulator.settings()).unwrap(), shown);
}
