//! `serve`: polls and serves until SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tracing::{error, field, info};

use super::output::usage_error;
use super::runtime::{block_on, stop_signal};
use crate::config::Config;
use crate::exporter::{self, Listeners};
use crate::http::auth::Auth;
use crate::metrics::Build;
use crate::platform::clock::SystemClock;
use crate::platform::logging;

pub(super) fn run(config: Config) -> ExitCode {
    logging::set_up(&config.log);
    block_on(async {
        let Build { version, revision, .. } = Build::THIS;
        let auth = match auth(&config) {
            Ok(auth) => auth,
            Err(error) => {
                let name = "IMDS_EXPORTER_WEB_CONFIG_FILE";
                return Ok(usage_error(format_args!("imds-exporter: the configuration is invalid:\n{name}: {error}")));
            }
        };
        let Some(pages) = bind(config.listen, "IMDS_EXPORTER_LISTEN_ADDRESS").await else {
            return Ok(ExitCode::FAILURE);
        };
        let probes = match config.probe_listen {
            Some(address) => match bind(address, "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS").await {
                Some(probes) => Some(probes),
                None => return Ok(ExitCode::FAILURE),
            },
            None => None,
        };
        let probe_address = probes.as_ref().map(TcpListener::local_addr).transpose()?.map(field::display);
        info!(
            version,
            revision,
            address = %pages.local_addr()?,
            probe_address,
            endpoint = config.imds.endpoint.as_str(),
            poll_interval = %humantime::format_duration(config.poll_interval),
            timeout = %humantime::format_duration(config.imds.timeout),
            "serving"
        );
        let listeners = Listeners { pages, auth, probes };
        exporter::run(config, listeners, Arc::new(SystemClock), stop_signal()?).await?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(feature = "web-config")]
fn auth(config: &Config) -> Result<Auth, String> {
    config.web_config_file.as_deref().map_or_else(|| Ok(Auth::default()), Auth::from_file)
}

#[cfg(not(feature = "web-config"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form can fail")]
fn auth(_: &Config) -> Result<Auth, String> {
    Ok(Auth::default())
}

async fn bind(address: SocketAddr, variable: &str) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.inspect_err(|error| error!(%address, %error, "cannot listen on the address in {variable}")).ok()
}
