//! `wait`: returns as soon as credentials resolve. Prints changes, not attempts.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::loopback_client::get;
use super::output::print_event;
use super::runtime::block_on;
use crate::config::Config;
use crate::domain::{Credential, Failure, Source, schedule};
use crate::http::{Route, WAIT_USER_AGENT};
use crate::imds::Imds;
use crate::platform::clock::{SystemClock, monotonic};
use crate::runbook::explanation;

pub(super) fn run(config: &Config, timeout: Duration) -> ExitCode {
    block_on(async {
        let mut imds = Imds::new(config.imds.clone(), Arc::new(SystemClock)).map_err(std::io::Error::other)?;
        let mut printed: Option<Failure> = None;
        let deadline = monotonic().checked_add(timeout).unwrap_or_else(far_future);
        notify_exporter_here(config);
        loop {
            let began = monotonic();
            let Ok(resolution) = timeout_at(deadline, imds.resolve()).await else { break };
            let failure = match resolution.outcome {
                Ok(credential) => {
                    notify_exporter_here(config);
                    let Credential { role, expiration, .. } = credential;
                    print_event(format_args!("credentials resolve: role {role}, until {expiration}"));
                    return Ok(ExitCode::SUCCESS);
                }
                Err(failure) => failure,
            };
            if printed != Some(failure) {
                let Failure { kind, step } = failure;
                print_event(format_args!("waiting: {kind} in the {step} step: {}", kind.when()));
                printed = Some(failure);
            }
            let next = began + schedule::delay(schedule::SHORTEST_INTERVAL, true, fastrand::f64());
            sleep_until(next.min(deadline)).await;
        }
        match printed {
            Some(Failure { kind, step }) => {
                let action = explanation(kind).action;
                print_event(format_args!("timeout: {kind} in the {step} step. {action}"));
            }
            None => print_event("timeout before the first answer"),
        }
        Ok(ExitCode::FAILURE)
    })
}

/// Tells the exporter on this machine, if one runs, that the workload creates its clients only when this returns.
fn notify_exporter_here(config: &Config) {
    let _no_exporter = get(config.probe_address(), Route::Startup.path(), WAIT_USER_AGENT);
}

fn far_future() -> Instant {
    monotonic() + Duration::from_hours(24 * 365)
}
