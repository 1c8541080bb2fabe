//! What is known now: the state and the latest look at the processes, for what is made of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::state::{Shared, State};
use crate::workload::Watched;

/// The latest look at the processes; `None` before the first ended.
pub(super) type LatestLook = Arc<Mutex<Option<Watched>>>;

/// Passes what is known now to `use_them`; the processes are those of the latest look.
pub(super) fn with_facts<T>(
    state: &Shared,
    watched: Option<&LatestLook>,
    use_them: impl FnOnce(&State, Option<&Watched>) -> T,
) -> T {
    let watched = watched.map(|watched| lock(watched));
    use_them(&state.lock(), watched.as_deref().and_then(Option::as_ref))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
