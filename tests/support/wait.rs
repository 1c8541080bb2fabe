//! Waiting for something, with a deadline.

use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

/// Longer than anything on loopback takes; only a failing test waits this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The time between two attempts.
const PERIOD: Duration = Duration::from_millis(50);

/// Asks again until there is an answer; `None` at the deadline.
pub(crate) async fn answer_within<T>(deadline: Duration, ask: impl AsyncFn() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(PERIOD).await;
        }
    };
    timeout(deadline, asking).await.ok()
}

/// Waits until the condition is true; fails with `what` at the deadline.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let met = answer_within(DEADLINE, async || condition().then_some(())).await;
    met.unwrap_or_else(|| panic!("timeout: {what}"));
}

/// Runs all cases at once, to the end of each.
pub(crate) fn all_at_once(
    cases: impl IntoIterator<Item = impl Future<Output = ()> + 'static>,
) -> impl Future<Output = ()> {
    let set = LocalSet::new();
    let running: Vec<_> = cases.into_iter().map(|case| set.spawn_local(case)).collect();
    async move {
        let all = async {
            for case in running {
                case.await.expect("the case passes");
            }
        };
        set.run_until(all).await;
    }
}
