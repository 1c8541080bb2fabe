//! The slots of the open connections, a bounded number.
//!
//! When all slots are taken, the connection that has been idle for longest is evicted for a new one, so that idle or
//! slow clients never lock others out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::platform::clock::monotonic;

/// The slots of one server.
#[derive(Clone, Default)]
pub(super) struct ConnectionSlots(Arc<Mutex<Slots>>);

#[derive(Default)]
struct Slots {
    next: u64,
    /// The connection that has been idle for longest is the first.
    open: VecDeque<Open>,
}

struct Open {
    number: u64,
    last_request_at: Instant,
    /// Dropping it evicts the connection.
    _evict: oneshot::Sender<Infallible>,
}

/// The slot of one connection; free when dropped.
pub(super) struct Slot {
    slots: ConnectionSlots,
    number: u64,
}

impl ConnectionSlots {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot, and a receiver that ends when the slot is given to another connection.
    pub(super) fn acquire(&self, limit: usize) -> (Slot, oneshot::Receiver<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        let mut slots = self.lock();
        while slots.open.len() >= limit.max(1) {
            slots.open.pop_front();
        }
        let number = slots.next;
        slots.next += 1;
        slots.open.push_back(Open { number, last_request_at: monotonic(), _evict: sender });
        (Slot { slots: self.clone(), number }, receiver)
    }
}

impl Slot {
    /// Records a request.
    pub(super) fn touch(&self) {
        let open = &mut self.slots.lock().open;
        if let Some(index) = open.iter().position(|slot| slot.number == self.number) {
            let slot = open.remove(index);
            open.extend(slot.map(|slot| Open { last_request_at: monotonic(), ..slot }));
        }
    }

    /// When the last request, or the connection, arrived; `None` once the slot was given to another connection.
    pub(super) fn last_request_at(&self) -> Option<Instant> {
        let slots = self.slots.lock();
        slots.open.iter().find(|slot| slot.number == self.number).map(|slot| slot.last_request_at)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().open.retain(|slot| slot.number != self.number);
    }
}
