//! `serve`: polls and serves until SIGTERM or Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::friendly::SpanPrinter;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::output::usage_error;
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
        let auth = match config.web_config_file.as_deref().map(Auth::from_file).transpose() {
            Ok(auth) => auth.map(Arc::new),
            Err(error) => {
                let name = "IMDS_EXPORTER_WEB_CONFIG_FILE";
                return Ok(usage_error(format_args!("imds-exporter: the configuration is invalid:\n{name}: {error}")));
            }
        };
        if let Some(Err(what)) = config.state_file.as_deref().map(state_file::check) {
            let name = "IMDS_EXPORTER_STATE_FILE";
            return Ok(usage_error(format_args!("imds-exporter: the configuration is invalid:\n{name}: {what}")));
        }
        if let (Some(_), Ok(options)) = (config.signed_call_interval, &config.sts)
            && let Err(error) = Sts::new(options, Arc::new(SystemClock))
        {
            return Ok(usage_error(format_args!("imds-exporter: the configuration is invalid:\n{error}")));
        }
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

fn text_of(duration: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}

/// Reads the web configuration again at each SIGHUP.
fn reload_on_hangup(auth: Option<Arc<Auth>>) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            auth.iter().for_each(|auth| auth.reload());
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
