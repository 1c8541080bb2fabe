//! `check`: one resolution, step by step.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Deserialize;

use super::loopback_client::get;
use super::output::print;
use super::report::{KnownSdk, Report};
use super::runtime::block_on;
use crate::config::Config;
use crate::domain::Source;
use crate::domain::outage::Window;
use crate::http::Route;
use crate::imds::Imds;
use crate::platform::clock::{Clock, SystemClock};

pub(super) fn run(config: &Config, json: bool) -> ExitCode {
    block_on(async {
        let mut imds = Imds::new(config.imds.clone(), Arc::new(SystemClock)).map_err(std::io::Error::other)?;
        let resolution = imds.resolve().await;
        let known = known_here(config);
        let report = Report {
            endpoint: config.imds.endpoint.as_str(),
            resolution: &resolution,
            at: SystemClock.now(),
            expected_role: config.expected_role.as_ref(),
            shadowed: config.declared.shadowed,
            v1_disabled: config.declared.v1_disabled,
            imds_through_proxy: config.imds_through_proxy,
            last_outage: known.outages.last().copied(),
            known_sdks: known.sdks,
        };
        print(if json { report.json() } else { report.text() });
        Ok(report.verdict().exit_code().into())
    })
}

/// What `/api/v1/status` of an exporter says.
#[derive(Default, Deserialize)]
struct Known {
    outages: Vec<Window>,
    #[serde(default)]
    sdks: Vec<KnownSdk>,
}

/// What the exporter on this machine knows, if one runs.
fn known_here(config: &Config) -> Known {
    let status = get(config.listen, Route::StatusJson.path()).ok();
    status.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
}
