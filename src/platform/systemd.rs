//! systemd's notify protocol: ready, status, watchdog, stopping.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. A message that cannot be sent is not repeated: systemd
//! decides what follows from silence.

use std::future::{Future, pending};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::domain::state::{PollStatus, State};
use crate::platform::clock::monotonic;
use crate::platform::heartbeat::Heartbeat;

/// Tells systemd that the service is ready. Call it once the port is bound.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("the first poll has not ended yet")]);
}

/// Tells systemd the status line of `systemctl status`. Call it after each poll.
pub(crate) fn polled(state: &State) {
    notify(&[NotifyState::Status(&status(state))]);
}

/// Tells systemd that the service is stopping. Call it before waiting for connections.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Notifies the watchdog while the poll loop is alive; does nothing if systemd runs no watchdog.
///
/// The loop's heartbeat decides, as for `/-/healthy`: the poll interval may be longer than the watchdog's time, and an
/// outage must not end the service. A loop that blocks the thread blocks this too.
pub(crate) fn notify_watchdog(heartbeat: Heartbeat) -> impl Future<Output = ()> + Send {
    let allowed = sd_notify::watchdog_enabled().filter(|allowed| !allowed.is_zero());
    async move {
        let Some(allowed) = allowed else { return pending().await };
        let mut due = interval(watchdog_interval(allowed));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if heartbeat.is_alive(monotonic()) {
                notify(&[NotifyState::Watchdog]);
            }
        }
    }
}

/// Half of the time allowed, as systemd recommends.
fn watchdog_interval(allowed: Duration) -> Duration {
    (allowed / 2).max(Duration::from_millis(1))
}

fn status(state: &State) -> String {
    match state.poll_status() {
        PollStatus::Unpolled => "the first poll has not ended yet".to_owned(),
        PollStatus::Resolved => match state.credential() {
            Some(credential) => {
                format!("credentials of the role {} resolve, until {:.0}", credential.role, credential.expiration)
            }
            None => "credentials resolve".to_owned(),
        },
        PollStatus::Failing(streak) => {
            let (failure, since, polls) = (streak.failure, streak.since.wall(state.booted_at()), streak.polls);
            format!("failing since {since:.0}: {} in the {} step, {polls} polls", failure.kind, failure.step)
        }
    }
}

fn notify(message: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(message) {
        debug!(%error, "systemd cannot be notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_notified_twice_per_timeout() {
        assert_eq!(watchdog_interval(Duration::from_secs(30)), Duration::from_secs(15));
        assert!(!watchdog_interval(Duration::from_nanos(1)).is_zero());
    }
}
