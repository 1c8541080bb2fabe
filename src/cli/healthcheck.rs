//! `healthcheck`: asks the exporter on this machine whether it is healthy.

use std::process::ExitCode;

use super::loopback_client::{Asked, LoopbackClient};
use super::output::print_error;
use super::runtime::block_on;
use crate::config::Config;
use crate::http::Route;

pub(super) fn run(config: &Config) -> ExitCode {
    block_on(async {
        match LoopbackClient::new()?.get(config.probe_addresses(), Route::Healthy.path()).await {
            Asked::Exporter { status: 200, .. } => return Ok(ExitCode::SUCCESS),
            Asked::Exporter { status: 401, .. } => {
                print_error("the exporter asks for a password: set IMDS_EXPORTER_PROBE_LISTEN_ADDRESS");
            }
            Asked::Exporter { status, body } => print_error(format_args!("unhealthy: HTTP {status}: {}", body.trim())),
            Asked::NoExporter(why) | Asked::Unclear(why) => print_error(why),
        }
        Ok(ExitCode::FAILURE)
    })
}
