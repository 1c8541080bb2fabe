//! The slots of the open connections, a bounded number.
//!
//! When all slots are taken, a new connection takes one of the client that holds the most: that which has been idle for
//! longest. So neither idle, slow nor many connections of some clients lock others out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::client_address::ClientAddress;
use crate::platform::clock::monotonic;

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
    client: ClientAddress,
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
    pub(super) fn acquire(&self, limit: usize, client: ClientAddress) -> (Slot, oneshot::Receiver<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        let mut slots = self.lock();
        while slots.open.len() >= limit.max(1) {
            slots.evict_one();
        }
        let number = slots.next;
        slots.next += 1;
        slots.open.push_back(Open { number, client, last_request_at: monotonic(), _evict: sender });
        (Slot { slots: self.clone(), number }, receiver)
    }
}

impl Slots {
    fn evict_one(&mut self) {
        let held_by = |client| self.open.iter().filter(|open| open.client == client).count();
        // Of equals, `max_by_key` takes the last: here the one that has been idle for longest.
        let crowded = self.open.iter().enumerate().rev().max_by_key(|(_, open)| held_by(open.client));
        if let Some((index, _)) = crowded {
            self.open.remove(index);
        }
    }
}

impl Slot {
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_longest_idle_connection_of_the_client_that_holds_the_most_is_evicted() {
        let slots = ConnectionSlots::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().expect("an address").into());
        let connect = |client| slots.acquire(4, client);
        let (lone, [first, second, third]) = (connect(other), [connect(one), connect(one), connect(one)]);
        first.0.touch();
        let fourth = connect(one);
        let open = [&lone, &first, &second, &third, &fourth].map(|(slot, _)| slot.last_request_at().is_some());
        assert_eq!(open, [true, true, false, true, true]);
        // Of clients that hold as many, the one whose connection has been idle for longest.
        drop((first, third));
        let (fifth, sixth) = (connect(other), connect(one));
        let seventh = connect(one);
        let open = [&lone, &fourth, &fifth, &sixth, &seventh].map(|(slot, _)| slot.last_request_at().is_some());
        assert_eq!(open, [false, true, true, true, true]);
    }
}
