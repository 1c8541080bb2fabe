//! `check`: one resolution, step by step, and with `--signed` one call to STS.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::loopback_client::{Asked, LoopbackClient};
use super::output::{invalid_configuration, print_result};
use super::report::{Report, SignedCheck};
use super::runtime::block_on;
use crate::config::Config;
use crate::domain::signed_call::{SHORTEST_INTERVAL, SignedCall};
use crate::domain::state::{State, WorkloadEnvironment};
use crate::domain::workload::Workload;
use crate::domain::{Signing, Source};
use crate::http::Route;
use crate::http::status::{KnownPast, Status};
use crate::imds::Imds;
use crate::platform::clock::{Clock, SystemClock, monotonic};
use crate::sts::Sts;

pub(super) fn run(config: &Config, json: bool, signed: bool) -> ExitCode {
    let sts = signed.then(|| {
        let options = config.sts.as_ref().map_err(ToString::to_string)?;
        Sts::new(options, Arc::new(SystemClock))
    });
    let sts = match sts.transpose() {
        Ok(sts) => sts,
        Err(errors) => return invalid_configuration(errors),
    };
    block_on(async {
        let began = SystemClock.moment();
        let mut imds = Imds::new(config.imds.clone(), Arc::new(SystemClock));
        let (resolution, signing) =
            if sts.is_some() { imds.resolve_to_sign().await } else { (imds.resolve().await, None) };
        // Of a workload that started earlier, one poll shows nothing.
        let environment = WorkloadEnvironment { workload: Workload::Independent, ..config.environment };
        let mut state = State::new(environment, began);
        state.record(&resolution, Duration::ZERO, SystemClock.moment());
        let signed = match (&sts, signing) {
            (Some(sts), Some(signing)) => {
                let (call, signed) = call(sts, signing).await;
                state = state.with_signed_calls(SHORTEST_INTERVAL);
                let _changed = state.signed_calls_mut().map(|calls| calls.finish(call));
                Some(signed)
            }
            _ => None,
        };
        let past = past_known_here(config).await?;
        let status = Status::new(&state, None, config.imds.endpoint.as_str(), SystemClock.now());
        let report = Report {
            status: status.with_past(&past),
            resolution: &resolution,
            expected_role: config.expected_role.as_ref(),
            signed,
        };
        let text = if json { report.json() } else { report.text() };
        Ok(print_result(text, (report.verdict() as u8).into()))
    })
}

/// What the exporter on this machine knows, if one runs.
async fn past_known_here(config: &Config) -> std::io::Result<KnownPast> {
    let status = LoopbackClient::new()?.get(&config.listen, Route::StatusJson.path()).await;
    let Asked::Exporter { body, .. } = status else { return Ok(KnownPast::default()) };
    Ok(serde_json::from_str(&body).unwrap_or_default())
}

async fn call(sts: &Sts, signing: Signing) -> (SignedCall, SignedCheck) {
    let endpoint = sts.endpoint(signing.region.as_ref()).map(|(endpoint, _)| endpoint.as_str().to_owned());
    let began = monotonic();
    let outcome = sts.call(signing).await;
    let (at, duration) = (SystemClock.now(), monotonic() - began);
    let (user_id, arn) = outcome.as_ref().ok().map(|who| (who.user_id.clone(), who.arn.clone())).unzip();
    let outcome = outcome.map(|identity| identity.caller);
    (SignedCall { at, duration, outcome }, SignedCheck { endpoint, user_id, arn })
}
