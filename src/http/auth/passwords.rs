//! Verifying passwords, on one thread.
//!
//! One verification takes tens of milliseconds, on purpose. The next one is of the client with the fewest wrong passwords, so
//! that a flood from some clients does not keep others out. What nobody waits for any more is not verified.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tokio::sync::oneshot;

use crate::http::client_address::ClientAddress;

const MAX_COUNTED: usize = 1024;

struct Attempt {
    client: ClientAddress,
    password: Vec<u8>,
    hash: String,
    result: oneshot::Sender<bool>,
}

/// The thread; it ends when this is dropped.
pub(super) struct Passwords(Sender<Attempt>);

impl Passwords {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel();
        thread::Builder::new().name("passwords".to_owned()).spawn(move || verify_all(&receiver))?;
        Ok(Self(sender))
    }

    pub(super) async fn verify(&self, client: ClientAddress, password: Vec<u8>, hash: String) -> bool {
        let (result, verified) = oneshot::channel();
        let _ended = self.0.send(Attempt { client, password, hash, result });
        verified.await.unwrap_or(false)
    }
}

fn verify_all(attempts: &Receiver<Attempt>) {
    let mut queue = Queue::default();
    while queue.fill(attempts) {
        let Some(Attempt { client, password, hash, result }) = queue.next() else { continue };
        let verified = bcrypt::verify(password, &hash).unwrap_or(false);
        queue.count(client, verified);
        let _gone = result.send(verified);
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Attempt>,
    wrong: HashMap<ClientAddress, u64>,
}

impl Queue {
    /// Takes in what has come, and waits if nothing is there; `false` at the end.
    fn fill(&mut self, attempts: &Receiver<Attempt>) -> bool {
        if self.waiting.is_empty() {
            match attempts.recv() {
                Ok(attempt) => self.waiting.push_back(attempt),
                Err(_) => return false,
            }
        }
        self.waiting.extend(attempts.try_iter());
        true
    }

    /// The next one that has a waiter.
    fn next(&mut self) -> Option<Attempt> {
        self.waiting.retain(|attempt| !attempt.result.is_closed());
        let wrong = |attempt: &Attempt| self.wrong.get(&attempt.client).copied().unwrap_or(0);
        let (index, _) = self.waiting.iter().enumerate().min_by_key(|(_, attempt)| wrong(attempt))?;
        self.waiting.remove(index)
    }

    fn count(&mut self, client: ClientAddress, verified: bool) {
        if verified {
            self.wrong.remove(&client);
        } else {
            if self.wrong.len() >= MAX_COUNTED && !self.wrong.contains_key(&client) {
                self.wrong.clear();
            }
            *self.wrong.entry(client).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> ClientAddress {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn the_next_is_of_the_client_with_the_fewest_wrong_passwords_and_never_of_one_that_has_gone() {
        let mut queue = Queue::default();
        let mut attempt = |last: u8, number: u8| {
            let (result, verified) = oneshot::channel();
            let (password, hash) = (vec![number], String::new());
            queue.waiting.push_back(Attempt { client: client(last), password, hash, result });
            verified
        };
        let _first = attempt(1, 1);
        drop(attempt(2, 2));
        let _third = attempt(1, 3);
        let _fourth = attempt(2, 4);
        let _fifth = attempt(3, 5);
        queue.count(client(1), false);
        queue.count(client(1), false);
        queue.count(client(2), false);
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).map(|attempt| attempt.password[0]).collect();
        assert_eq!(order, [5, 4, 1, 3]);
    }

    #[test]
    fn a_correct_password_forgives_wrong_ones_and_the_count_is_bounded() {
        let mut queue = Queue::default();
        queue.count(client(1), false);
        queue.count(client(1), true);
        assert!(queue.wrong.is_empty());
        for number in 0..=MAX_COUNTED as u128 {
            queue.count(IpAddr::from((number << 64).to_be_bytes()).into(), false);
        }
        assert_eq!(queue.wrong.len(), 1);
    }
}
