//! `healthcheck`: asks the exporter on this machine whether it is healthy.

use std::process::ExitCode;

use super::loopback_client::get;
use crate::config::Config;
use crate::http::Route;

pub(super) fn run(config: &Config) -> ExitCode {
    let address = config.probe_address();
    match get(address, Route::Healthy.path()) {
        Ok((200, _)) => ExitCode::SUCCESS,
        Ok((status, body)) => {
            eprintln!("imds-exporter: unhealthy: HTTP {status}: {}", body.trim());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("imds-exporter: no answer from {address}: {error}");
            ExitCode::FAILURE
        }
    }
}
