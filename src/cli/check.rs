//! `check`: one resolution, step by step, and with `--signed` one call to STS.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Deserialize;

use super::loopback_client::{Asked, LoopbackClient};
use super::output::{print_result, usage_error};
use super::report::{KnownClient, Report, SignedCheck};
use super::runtime::block_on;
use crate::config::Config;
use crate::domain::outage::Window;
use crate::domain::signed_call::Reason;
use crate::domain::{Signing, Source};
use crate::http::Route;
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
        Err(errors) => return usage_error(format_args!("imds-exporter: the configuration is invalid:\n{errors}")),
    };
    block_on(async {
        let mut imds = Imds::new(config.imds.clone(), Arc::new(SystemClock)).map_err(std::io::Error::other)?;
        let (resolution, signing) =
            if sts.is_some() { imds.resolve_to_sign().await } else { (imds.resolve().await, None) };
        let known = known_here(config).await?;
        let at = SystemClock.now();
        let signed = match (&sts, signing) {
            (Some(sts), Some(signing)) => Some(call(sts, signing).await),
            _ => None,
        };
        let report = Report {
            endpoint: config.imds.endpoint.as_str(),
            resolution: &resolution,
            at,
            expected_role: config.expected_role.as_ref(),
            shadowed: config.environment.earlier_in_chain,
            place: config.environment.place,
            imds_through_proxy: config.environment.proxied_by,
            last_outage: known.outages.last().copied(),
            known_clients: known.clients,
            signed: signed.as_ref(),
        };
        let text = if json { report.json() } else { report.text() };
        Ok(print_result(text, report.verdict().exit_code().into()))
    })
}

/// What `/api/v1/status` of an exporter says.
#[derive(Default, Deserialize)]
struct Known {
    outages: Vec<Window>,
    #[serde(default)]
    clients: Vec<KnownClient>,
}

/// What the exporter on this machine knows, if one runs.
async fn known_here(config: &Config) -> std::io::Result<Known> {
    let status = LoopbackClient::new()?.get(&config.listen, Route::StatusJson.path()).await;
    let Asked::Exporter { body, .. } = status else { return Ok(Known::default()) };
    Ok(serde_json::from_str(&body).unwrap_or_default())
}

async fn call(sts: &Sts, Signing { credentials, region }: Signing) -> SignedCheck {
    let region = sts.region().cloned().or(region);
    let began = monotonic();
    let outcome = match &region {
        Some(region) => sts.call(region, credentials).await,
        None => Err(Reason::Unexpected.into()),
    };
    let endpoint = region.map(|region| sts.endpoint(&region).as_str().to_owned());
    SignedCheck { endpoint, duration: monotonic() - began, outcome }
}
