//! What the programs that poll have in common: one thread, as the exporter has, and what is measured.

use std::time::Instant;
use std::{env, fs};

/// Polls before measuring: connections, caches, a session token.
const WARM_UP: u32 = 50;

/// `NAME ENDPOINT POLLS`: makes a poller and polls. Prints wall time and CPU time of one poll in nanoseconds.
pub fn polls<P>(make: impl AsyncFnOnce(String) -> P, mut poll: impl AsyncFnMut(&mut P)) {
    let arguments: Vec<String> = env::args().collect();
    let [_, endpoint, polls, ..] = &arguments[..] else { panic!("usage: {} ENDPOINT POLLS", arguments[0]) };
    let polls: u32 = polls.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has resources").block_on(async {
        let mut poller = make(endpoint.clone()).await;
        for _ in 0..WARM_UP {
            poll(&mut poller).await;
        }
        let (began, cpu_began) = (Instant::now(), cpu_nanoseconds());
        for _ in 0..polls {
            poll(&mut poller).await;
        }
        let (wall, cpu) = (began.elapsed().as_nanos(), cpu_nanoseconds() - cpu_began);
        println!("{} {}", wall / u128::from(polls), cpu / u64::from(polls));
    });
}

fn cpu_nanoseconds() -> u64 {
    let statistics = fs::read_to_string("/proc/self/schedstat").expect("the kernel keeps them");
    statistics.split(' ').next().and_then(|cpu| cpu.parse().ok()).expect("they begin with the time on the CPU")
}
