//! `serve`: polls and serves until SIGTERM or Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::friendly::SpanPrinter;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::output::invalid_configuration;
use super::runtime::{block_on, start_blocking_thread, stop_signal};
use crate::config::Config;
use crate::exporter::{self, Listeners};
use crate::http::auth::Auth;
use crate::metrics::Build;
use crate::platform::clock::SystemClock;
use crate::platform::listener::ListenAddress;
use crate::platform::{logging, state_file};
use crate::sts::Sts;

pub(super) fn run(config: Config) -> ExitCode {
    logging::set_up(&config.log);
    block_on(async {
        let Build { version, revision, .. } = Build::THIS;
        let auth = match check_files(&config) {
            Ok(auth) => auth.map(Arc::new),
            Err(error) => return Ok(invalid_configuration(error)),
        };
        let Some(pages) = bind(&config.listen, "IMDS_EXPORTER_LISTEN_ADDRESS").await else {
            return Ok(ExitCode::FAILURE);
        };
        let Some(probes) = bind(&config.probe_listen, "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS").await else {
            return Ok(ExitCode::FAILURE);
        };
        let probe_address = if probes.is_empty() { None } else { Some(addresses(&probes)?) };
        info!(
            version,
            revision,
            address = addresses(&pages)?,
            probe_address,
            endpoint = config.imds.endpoint.as_str(),
            poll_interval = %text_of(config.poll_interval),
            timeout = %text_of(config.imds.timeout),
            signed_call_interval = config.signed_call_interval.map(text_of),
            "serving"
        );
        if let Some(shadowed) = config.environment.earlier_in_chain {
            warn!(
                by = shadowed.label(),
                "the SDKs' default chain finds credentials in this environment before it asks IMDS: client metrics are not exported"
            );
        }
        if let Some(variable) = config.environment.proxied_by {
            warn!(variable, "SDKs with this environment ask IMDS through a proxy: add the address of IMDS to NO_PROXY");
        }
        if config.state_file.is_some() || config.watch.is_some() || config.signed_call_interval.is_some() {
            start_blocking_thread()?;
        }
        let reloads = tokio::spawn(reload_on_hangup(auth.clone())?);
        let listeners = Listeners { pages, auth, probes };
        exporter::run(config, listeners, Arc::new(SystemClock), stop_signal()?).await?;
        reloads.abort();
        Ok(ExitCode::SUCCESS)
    })
}

/// What is wrong with the files that the configuration names.
fn check_files(config: &Config) -> Result<Option<Auth>, String> {
    let auth = config.web_config_file.as_deref().map(Auth::from_file).transpose();
    let auth = auth.map_err(|error| format!("IMDS_EXPORTER_WEB_CONFIG_FILE: {error}"))?;
    if let Some(Err(what)) = config.state_file.as_deref().map(state_file::check) {
        return Err(format!("IMDS_EXPORTER_STATE_FILE: {what}"));
    }
    if let (Some(_), Ok(options)) = (config.signed_call_interval, &config.sts) {
        Sts::new(options, Arc::new(SystemClock))?;
    }
    Ok(auth)
}

fn text_of(duration: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}

/// Reads the web configuration again at each SIGHUP.
fn reload_on_hangup(auth: Option<Arc<Auth>>) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            if let Some(auth) = auth.clone() {
                // On a thread of its own, as the disk may be slow.
                let _panicked = spawn_blocking(move || auth.reload()).await;
            }
        }
    })
}

async fn bind(addresses: &[ListenAddress], variable: &str) -> Option<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = address.bind().await;
        let bound = bound.inspect_err(|error| error!(%address, %error, "cannot listen on the address in {variable}"));
        listeners.extend(bound.ok()?);
    }
    Some(listeners)
}

fn addresses(listeners: &[TcpListener]) -> io::Result<String> {
    let addresses: io::Result<Vec<_>> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
    Ok(addresses?.join(","))
}
