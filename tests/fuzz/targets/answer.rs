//! Any bytes from whoever answers at IMDS's address, to the token request and to all that follow: a verdict in
//! bounded time, without a byte of what looks like a secret.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::{Resolution, Source};
use imds_exporter::imds::{DEFAULT_ATTEMPTS, Endpoint, Imds, ImdsOptions};
use imds_exporter::platform::clock::{SystemClock, monotonic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

const TIMEOUT: Duration = Duration::from_millis(50);
/// A token, a role, with a token or without, and the document or the profile.
const MOST_REQUESTS: u32 = 3;
/// The later ones depend on how the former ones ended.
const POLLS: u32 = 2;
const CANARY: &str = "CANARY";
/// Between two answers in the input.
const SEPARATOR: &[u8] = b"\n====\n";

/// A server on all of loopback's addresses that plays answers.
struct Stage {
    runtime: Runtime,
    tasks: LocalSet,
    port: u16,
    answers: Rc<RefCell<Vec<Vec<u8>>>>,
    run: Cell<u32>,
}

impl Stage {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let answers = Rc::new(RefCell::new(Vec::<Vec<u8>>::new()));
        let tasks = LocalSet::new();
        let played = Rc::clone(&answers);
        tasks.spawn_local(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                let played = Rc::clone(&played);
                tokio::task::spawn_local(async move {
                    let mut head = [0; 4096];
                    while let Ok(1..) = stream.read(&mut head).await {
                        let answer = {
                            let mut answers = played.borrow_mut();
                            if answers.len() > 1 {
                                answers.remove(0)
                            } else {
                                answers.first().cloned().unwrap_or_default()
                            }
                        };
                        // An answer that is not marked as unfinished ends the connection.
                        let unfinished = answer.ends_with(b"~");
                        if stream.write_all(&answer).await.is_err() || !unfinished {
                            return;
                        }
                    }
                });
            }
        });
        Self { runtime, tasks, port, answers, run: Cell::new(0) }
    }

    fn play(&self, input: &[u8]) {
        *self.answers.borrow_mut() = split(input);
        // Ports of ended connections stay taken for a while: each run has an address of its own.
        let run = self.run.replace(self.run.get().wrapping_add(1));
        let [_, b, c, d] = run.to_be_bytes();
        let endpoint = format!("http://127.{}.{c}.{}:{}", b % 255, d.clamp(1, 254), self.port);
        let endpoint = Endpoint::parse(&endpoint).expect("a good endpoint");
        let v1_disabled = run.is_multiple_of(4);
        let options = ImdsOptions {
            endpoint,
            timeout: TIMEOUT,
            attempts: DEFAULT_ATTEMPTS,
            disabled: false,
            v1_disabled,
            region: None,
        };
        self.tasks.block_on(&self.runtime, async {
            let mut imds = Imds::new(options, Arc::new(SystemClock));
            for _ in 0..POLLS {
                let began = monotonic();
                let resolution = imds.resolve().await;
                // Generous: the machine may be busy. A request without a bound would never end.
                assert!(began.elapsed() < TIMEOUT * MOST_REQUESTS + Duration::from_secs(10), "{:?}", began.elapsed());
                holds(&resolution);
            }
        });
    }
}

fn holds(resolution: &Resolution) {
    let requests = u32::try_from(resolution.requests.len()).expect("few");
    assert!(requests <= MOST_REQUESTS, "{requests} requests");
    assert!(resolution.v1_fallback.is_none() || resolution.outcome.is_ok());
    // A role's name is the only text of IMDS's that is kept.
    let kept = resolution.outcome.as_ref().map_or("", |credential| credential.role.as_str());
    assert!(kept.contains(CANARY) || !format!("{resolution:?}").contains(CANARY));
}

fn split(input: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        answers.push(rest[..at].to_vec());
        rest = &rest[at + SEPARATOR.len()..];
    }
    answers.push(rest.to_vec());
    answers
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

/// The property.
pub(crate) fn check(input: &[u8]) {
    STAGE.with(|stage| stage.play(input));
}
