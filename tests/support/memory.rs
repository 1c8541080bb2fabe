//! Secrets in the memory of a process.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::wait::answer_within;

/// A run of this many bytes of a secret counts as found.
pub(crate) const RUN: usize = 8;

const PAGE: usize = 4096;

/// How long a secret may stay in memory after its last use.
const KEPT: Duration = Duration::from_secs(6);

/// What is looked for: every run of [`RUN`] bytes of some secrets.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    runs: HashSet<[u8; RUN]>,
    /// The runs by their first two bytes: most of memory is no run, and is not looked up.
    begins: HashSet<[u8; 2]>,
}

impl Secrets {
    pub(crate) fn of<T: AsRef<[u8]>>(secrets: impl IntoIterator<Item = T>) -> Self {
        let mut all = Self::default();
        for secret in secrets {
            let secret = secret.as_ref();
            assert!(secret.len() >= RUN, "a secret is longer than a run");
            all.runs.extend(secret.windows(RUN).map(|run| <[u8; RUN]>::try_from(run).expect("a window of this size")));
            all.begins.extend(secret.windows(2).map(|pair| [pair[0], pair[1]]));
        }
        all
    }

    /// In time, none of them is in the writable memory of the process.
    pub(crate) async fn assert_gone_from(&self, pid: u32, when: &str) {
        let gone = answer_within(KEPT, async || self.found_in(pid).is_empty().then_some(())).await;
        gone.unwrap_or_else(|| panic!("{when}:\n{}", self.found_in(pid)));
    }

    /// Where any of them is in the writable memory of a process, in words; empty if nowhere.
    pub(crate) fn found_in(&self, pid: u32) -> String {
        let mut begins = vec![false; 1 << 16];
        for begin in &self.begins {
            begins[usize::from(u16::from_le_bytes(*begin))] = true;
        }
        let mut found = String::new();
        for region in writable_regions(pid) {
            let memory = region.read(pid);
            for (offset, run) in memory.windows(RUN).enumerate() {
                if begins[usize::from(u16::from_le_bytes([run[0], run[1]]))] && self.runs.contains(run) {
                    let (address, name) = (region.begin + offset, &region.name);
                    writeln!(found, "{:?} at {address:#x} in {name}", String::from_utf8_lossy(run))
                        .expect("a String takes all");
                }
            }
        }
        found
    }
}

/// A part of the memory of a process, as `/proc/PID/maps` lists it.
struct Region {
    begin: usize,
    end: usize,
    name: String,
}

impl Region {
    fn read(&self, pid: u32) -> Vec<u8> {
        let file = File::open(format!("/proc/{pid}/mem")).expect("root may read the memory of any process");
        let mut memory = vec![0; self.end - self.begin];
        for (index, page) in memory.chunks_mut(PAGE).enumerate() {
            // A page that the process gave back meanwhile holds nothing.
            let _gone = file.read_exact_at(page, (self.begin + index * PAGE) as u64);
        }
        memory
    }
}

fn writable_regions(pid: u32) -> Vec<Region> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("root may read the maps of any process");
    let regions = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (range, permissions) = (fields.next()?, fields.next()?);
        let (begin, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).expect("an address in hexadecimal");
        let name = fields.nth(3).unwrap_or("anonymous memory").to_owned();
        // The stack is written again at every poll; what a function has left there is not promised to be gone.
        let searched = permissions.starts_with("rw") && name != "[stack]";
        searched.then(|| Region { begin: address(begin), end: address(end), name })
    });
    let regions: Vec<_> = regions.collect();
    assert!(regions.iter().any(|region| region.name == "[heap]"), "{maps}");
    regions
}
