//! `wait`: returns as soon as credentials resolve. Prints changes, not attempts.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::loopback_client::{Asked, LoopbackClient};
use super::output::print_event;
use super::runtime::block_on;
use crate::config::Config;
use crate::domain::place::Circumstances;
use crate::domain::{Credential, Failure, Source, schedule};
use crate::http::{Route, STARTUP_OK};
use crate::imds::Imds;
use crate::platform::clock::{SystemClock, monotonic};
use crate::runbook::explanation;

/// Between questions to the exporter on this machine.
const ASKED_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(config: &Config, timeout: Duration) -> ExitCode {
    if let Some(shadowed) = config.environment.earlier_in_chain {
        print_event(format_args!("SDKs with this environment do not ask IMDS: {}", shadowed.meaning()));
        return ExitCode::SUCCESS;
    }
    if config.imds.disabled {
        print_event("SDKs with this environment do not ask IMDS: AWS_EC2_METADATA_DISABLED is true");
        return ExitCode::SUCCESS;
    }
    block_on(async {
        let exporter = LoopbackClient::new()?;
        let mut imds = Imds::new(config.imds.clone(), Arc::new(SystemClock));
        let mut printed: Option<Failure> = None;
        let mut circumstances = Circumstances { place: config.environment.place, ..Circumstances::default() };
        let deadline = monotonic().checked_add(timeout).unwrap_or_else(|| monotonic() + Duration::from_hours(24 * 365));
        loop {
            let began = monotonic();
            let Ok(resolution) = timeout_at(deadline, imds.resolve()).await else { break };
            circumstances.evidence = resolution.evidence;
            let failure = match resolution.outcome {
                Ok(credential) => {
                    let seen = outage_is_over_here(&exporter, config, deadline).await;
                    let Credential { role, expiration, .. } = credential;
                    print_event(format_args!("credentials resolve: role {role}, until {expiration}"));
                    if let Err(why) = seen {
                        print_event(format_args!("the exporter on this machine {why}: it may suspect what starts now"));
                    }
                    return Ok(ExitCode::SUCCESS);
                }
                Err(failure) => failure,
            };
            if printed != Some(failure) {
                let Failure { kind, step } = failure;
                print_event(format_args!("waiting: {kind} in the {step} step: {}", kind.observed()));
                printed = Some(failure);
            }
            let next = began + schedule::delay(schedule::SHORTEST_INTERVAL, true, fastrand::f64());
            sleep_until(next.min(deadline)).await;
        }
        match printed {
            Some(Failure { kind, step }) => {
                let action = explanation(kind, circumstances).action;
                print_event(format_args!("timeout: {kind} in the {step} step. {action}"));
            }
            None => print_event("timeout before the first answer"),
        }
        Ok(ExitCode::FAILURE)
    })
}

/// Waits until the exporter on this machine, if one runs, has seen the end of the outage: what starts before that is a
/// suspect to it. Returns why that is not known at the end.
async fn outage_is_over_here(exporter: &LoopbackClient, config: &Config, deadline: Instant) -> Result<(), String> {
    let mut last = "has not answered".to_owned();
    loop {
        match timeout_at(deadline, exporter.get(config.probe_addresses(), Route::Startup.path())).await {
            Ok(Asked::Exporter { status: 200, body }) if body == STARTUP_OK => return Ok(()),
            Ok(Asked::Exporter { status: 200 | 503, .. }) => "has not seen that yet".clone_into(&mut last),
            Ok(Asked::Exporter { status: 401, .. }) => {
                return Err("asks for a password (see IMDS_EXPORTER_PROBE_LISTEN_ADDRESS)".to_owned());
            }
            Ok(Asked::Exporter { status, .. }) => return Err(format!("answers with HTTP {status}")),
            Ok(Asked::NoExporter(_)) => return Ok(()),
            Ok(Asked::Unclear(why)) => return Err(format!("cannot be asked ({why})")),
            Err(_) => return Err(last),
        }
        if monotonic() >= deadline {
            return Err(last);
        }
        sleep_until((monotonic() + ASKED_EVERY).min(deadline)).await;
    }
}
