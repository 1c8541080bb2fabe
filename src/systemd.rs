//! What systemd is told, where it asks to be: ready, how things stand, that the poll loop turns, stopping.
//!
//! Owns the notify protocol. Without `NOTIFY_SOCKET` in the environment nothing is sent. A message that cannot be
//! sent is not tried again: systemd itself decides what follows from silence.

use std::future::{Future, pending};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::clock::monotonic;
use crate::pulse::Pulse;
use crate::state::{Standing, State};

/// The service is ready: to be called once the port is bound.
pub fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("the first poll is under way")]);
}

/// How things stand, for `systemctl status`: to be called after each poll.
pub fn polled(state: &State) {
    notify(&[NotifyState::Status(&status(state))]);
}

/// The service stops: to be called before it waits for its connections.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog while the poll loop turns, for as long as it is polled; idle where systemd has none running.
///
/// The loop's pulse decides, as it does for `/-/healthy`: the poll interval may be longer than the watchdog's time,
/// and an outage, in which the loop turns, must not end the service. A loop that blocks the thread starves this too.
pub fn feed_watchdog(pulse: Pulse) -> impl Future<Output = ()> + Send {
    let allowed = sd_notify::watchdog_enabled().filter(|allowed| !allowed.is_zero());
    async move {
        let Some(allowed) = allowed else { return pending().await };
        let mut due = interval(feeding_interval(allowed));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if pulse.is_alive(monotonic()) {
                notify(&[NotifyState::Watchdog]);
            }
        }
    }
}

/// Half of the time allowed, as systemd recommends.
fn feeding_interval(allowed: Duration) -> Duration {
    (allowed / 2).max(Duration::from_millis(1))
}

fn status(state: &State) -> String {
    match state.standing() {
        Standing::Unpolled => "the first poll is under way".to_owned(),
        Standing::Resolved => match state.credential() {
            Some(credential) => {
                format!("credentials of the role {} resolve, until {:.0}", credential.role, credential.expiration)
            }
            None => "credentials resolve".to_owned(),
        },
        Standing::Failing(run) => {
            let (failure, since, polls) = (run.failure, run.since, run.polls);
            format!("failing since {since:.0}: {} at the step {}, {polls} polls", failure.kind, failure.step)
        }
    }
}

fn notify(message: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(message) {
        debug!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        assert_eq!(feeding_interval(Duration::from_secs(30)), Duration::from_secs(15));
        assert!(!feeding_interval(Duration::from_nanos(1)).is_zero());
    }
}
