//! What is known now: the state and the latest scan of the processes, for what is made of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::state::{Shared, State};
use crate::workload::Watched;

/// The latest scan of the processes; `None` before the first ended.
pub(super) type LatestScan = Arc<Mutex<Option<Watched>>>;

/// Passes what is known now to `f`; the processes are those of the latest scan.
pub(super) fn with_snapshot<T>(
    state: &Shared,
    watched: Option<&LatestScan>,
    f: impl FnOnce(&State, Option<&Watched>) -> T,
) -> T {
    let watched = watched.map(|watched| lock(watched));
    f(&state.lock(), watched.as_deref().and_then(Option::as_ref))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
