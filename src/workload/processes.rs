//! Watched processes, and those among them that are suspects: they started in an outage that is over, and still run.
//!
//! Owns what is read from `/proc`. A suspicion, never a proof: nobody can see from outside when a process created its
//! clients. Only the program's name is kept of a command line. A look can take long, so it is for a thread of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use jiff::{SignedDuration, Timestamp};
use procfs::process::{Process, Stat, all_processes};
use procfs::{Current, Uptime};
use regex_lite::Regex;
use serde::Serialize;

use super::owner::Owner;
use crate::domain::outage::Window;

/// How long before an outage a process may have started: programs need some time before they create a client.
pub const STARTED_BEFORE: SignedDuration = SignedDuration::from_secs(30);

/// The start of a process is known to a few hundredths of a second: what started so shortly before the end of an outage may
/// have started after it, and had no time to create a client in it.
const START_TIME_ERROR: SignedDuration = SignedDuration::from_millis(50);

/// Suspects that are kept.
const KEPT: usize = 1_000;

/// The part of a command line that is matched, in bytes.
const LONGEST_COMMAND_LINE: u64 = 64 * 1024;

/// The part of `/proc/PID/cgroup` that is read, in bytes.
const LONGEST_CGROUP: u64 = 16 * 1024;

/// A process that started in an outage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuspectProcess {
    /// Its id, in the exporter's PID namespace.
    pub pid: i32,
    /// The program's name, as the kernel has it.
    pub command: String,
    /// When it started.
    pub started_at: Timestamp,
    /// The outage in which it started.
    pub outage: Window,
    /// Who owns it.
    #[serde(flatten)]
    pub owner: Owner,
    /// With the id, tells a process from a later one of the same id.
    #[serde(skip)]
    start_ticks: u64,
}

/// A running process that is watched.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id.
    pub pid: i32,
    /// The program's name.
    pub command: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Clock ticks after boot at which it started.
    pub start_ticks: u64,
}

/// What a look at the processes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Processes that match the pattern.
    pub processes: usize,
    /// Whether any process can be seen but the exporter itself.
    pub sees_others: bool,
    /// The suspects among them, longest running first.
    pub suspects: Vec<SuspectProcess>,
}

/// The suspects among `candidates`, longest running first.
#[must_use]
pub fn suspects(candidates: Vec<Candidate>, windows: &[Window]) -> Vec<SuspectProcess> {
    let inside = |at: Timestamp, window: &Window| {
        window.start.checked_sub(STARTED_BEFORE).unwrap_or(Timestamp::MIN) <= at
            && START_TIME_ERROR <= at.duration_until(window.end)
    };
    let mut suspects: Vec<_> = (candidates.into_iter())
        .filter_map(|candidate| {
            let outage = *windows.iter().find(|window| inside(candidate.started_at, window))?;
            let Candidate { pid, command, started_at, start_ticks } = candidate;
            Some(SuspectProcess { pid, command, started_at, outage, owner: Owner::default(), start_ticks })
        })
        .collect();
    suspects.sort_by_key(|suspect| (suspect.started_at, suspect.pid));
    suspects.truncate(KEPT);
    suspects
}

/// Whether the process still runs: not another one with the same id, and not one that has ended.
#[must_use]
pub fn still_running(suspect: &SuspectProcess) -> bool {
    let stat = Process::new(suspect.pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.starttime == suspect.start_ticks && !has_ended(&stat))
}

fn has_ended(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

/// Watches processes whose command line matches.
#[derive(Debug)]
pub struct ProcessWatcher {
    pattern: Regex,
    /// Whether each process, by id, start and program, matches: a command line is read once, and again after a script has
    /// become another program.
    matches: HashMap<(i32, u64, String), bool>,
}

impl ProcessWatcher {
    /// Watches processes whose command line matches `pattern`.
    #[must_use]
    pub fn new(pattern: Regex) -> Self {
        Self { pattern, matches: HashMap::new() }
    }

    /// Looks at all processes; the machine booted at `booted_at`. Those that may not be read are skipped.
    pub fn look(&mut self, windows: &[Window], booted_at: Option<Timestamp>) -> Watched {
        let own = i32::try_from(std::process::id()).ok();
        let processes: Vec<_> = all_processes().into_iter().flatten().flatten().collect();
        let others = processes.into_iter().filter(|process| Some(process.pid) != own);
        let others: Vec<_> = others.filter_map(|process| process.stat().ok().filter(|stat| !has_ended(stat))).collect();
        let sees_others = !others.is_empty();

        let mut matches = HashMap::with_capacity(others.len());
        let mut matching = Vec::new();
        for stat in others {
            let key = (stat.pid, stat.starttime, stat.comm.clone());
            let is_match = self.matches.get(&key).copied().unwrap_or_else(|| self.is_match(stat.pid));
            matches.insert(key, is_match);
            if is_match {
                matching.push(stat);
            }
        }
        self.matches = matches;
        let processes = matching.len();
        let mut suspects = booted_at.map_or_else(Vec::new, |booted_at| {
            suspects(matching.iter().filter_map(|stat| candidate(stat, booted_at)).collect(), windows)
        });
        for suspect in &mut suspects {
            suspect.owner = Owner::parse(&read(suspect.pid, "cgroup", LONGEST_CGROUP));
        }
        Watched { processes, sees_others, suspects }
    }

    fn is_match(&self, pid: i32) -> bool {
        let command_line = read(pid, "cmdline", LONGEST_COMMAND_LINE).replace('\0', " ");
        let command_line = command_line.trim_end();
        !command_line.is_empty() && self.pattern.is_match(command_line)
    }
}

/// The time of the boot by the present wall clock, to a hundredth of a second; `/proc/stat` has whole seconds only.
///
/// To be asked at `now`, not later.
#[must_use]
pub fn booted_at(now: Timestamp) -> Option<Timestamp> {
    let uptime = Uptime::current().ok()?;
    now.checked_sub(SignedDuration::try_from(uptime.uptime_duration()).ok()?).ok()
}

fn candidate(stat: &Stat, booted_at: Timestamp) -> Option<Candidate> {
    let since_boot_ms = stat.starttime.saturating_mul(1000) / procfs::ticks_per_second();
    let since_boot = SignedDuration::from_millis(i64::try_from(since_boot_ms).ok()?);
    Some(Candidate {
        pid: stat.pid,
        command: stat.comm.chars().filter(|c| !c.is_control()).take(32).collect(),
        started_at: booted_at.checked_add(since_boot).ok()?,
        start_ticks: stat.starttime,
    })
}

/// A bounded part of a file of the process, whatever its bytes; empty if it cannot be read.
fn read(pid: i32, file: &str, longest: u64) -> String {
    let mut content = Vec::new();
    let read = File::open(format!("/proc/{pid}/{file}")).and_then(|file| file.take(longest).read_to_end(&mut content));
    read.map(|_| String::from_utf8_lossy(&content).into_owned()).unwrap_or_default()
}
