//! Suspect processes: watched processes that started in an outage that is over, and still run.
//!
//! Owns what is read from `/proc`. A suspicion, never a proof: nobody can see from outside when a process created its
//! clients. Only the program's name is kept of a command line.

use jiff::{SignedDuration, Timestamp};
use procfs::process::{Process, all_processes};
use procfs::{Current, Uptime};
use regex_lite::Regex;
use serde::Serialize;

use crate::domain::outage::Window;

/// How long before an outage a process may have started: programs need some time before they create a client.
pub const STARTED_BEFORE: SignedDuration = SignedDuration::from_secs(30);

/// Suspects that are kept.
const KEPT: usize = 1_000;

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

/// The suspects among `candidates`, longest running first.
#[must_use]
pub fn suspects(candidates: Vec<Candidate>, windows: &[Window]) -> Vec<SuspectProcess> {
    let inside = |at: Timestamp, window: &Window| {
        window.start.checked_sub(STARTED_BEFORE).unwrap_or(Timestamp::MIN) <= at && at <= window.end
    };
    let mut suspects: Vec<_> = (candidates.into_iter())
        .filter_map(|candidate| {
            let outage = *windows.iter().find(|window| inside(candidate.started_at, window))?;
            let Candidate { pid, command, started_at, start_ticks } = candidate;
            Some(SuspectProcess { pid, command, started_at, outage, start_ticks })
        })
        .collect();
    suspects.sort_by_key(|suspect| (suspect.started_at, suspect.pid));
    suspects.truncate(KEPT);
    suspects
}

/// Watches processes whose command line matches.
#[derive(Debug)]
pub struct ProcessWatcher {
    pattern: Regex,
    suspects: Vec<SuspectProcess>,
}

impl ProcessWatcher {
    /// Watches processes whose command line matches `pattern`; none is seen yet.
    #[must_use]
    pub fn new(pattern: Regex) -> Self {
        Self { pattern, suspects: Vec::new() }
    }

    /// Looks at all processes again. Those that may not be read are skipped.
    pub fn scan(&mut self, windows: &[Window], now: Timestamp) {
        self.suspects = if windows.is_empty() { Vec::new() } else { suspects(self.candidates(now), windows) };
    }

    /// The suspects that still run.
    pub fn alive(&mut self) -> &[SuspectProcess] {
        self.suspects.retain(|suspect| {
            let stat = Process::new(suspect.pid).and_then(|process| process.stat());
            stat.is_ok_and(|stat| stat.starttime == suspect.start_ticks && stat.state != 'Z')
        });
        &self.suspects
    }

    /// The suspects of the last look.
    #[must_use]
    pub fn suspects(&self) -> &[SuspectProcess] {
        &self.suspects
    }

    fn candidates(&self, now: Timestamp) -> Vec<Candidate> {
        // The time of the boot by the present wall clock, to a hundredth of a second; `/proc/stat` has whole seconds only.
        let Some(booted_at) = Uptime::current()
            .ok()
            .and_then(|uptime| now.checked_sub(SignedDuration::try_from(uptime.uptime_duration()).ok()?).ok())
        else {
            return Vec::new();
        };
        let own = std::process::id();
        let processes = all_processes().into_iter().flatten().flatten();
        processes
            .filter(|process| u32::try_from(process.pid) != Ok(own))
            .filter_map(|process| {
                let command_line = process.cmdline().ok().filter(|line| !line.is_empty())?.join(" ");
                if !self.pattern.is_match(&command_line) {
                    return None;
                }
                let stat = process.stat().ok().filter(|stat| stat.state != 'Z')?;
                let since_boot = SignedDuration::from_millis(
                    i64::try_from(stat.starttime.saturating_mul(1000) / procfs::ticks_per_second()).ok()?,
                );
                let command = stat.comm.chars().filter(|c| !c.is_control()).take(32).collect();
                Some(Candidate {
                    pid: process.pid,
                    command,
                    started_at: booted_at.checked_add(since_boot).ok()?,
                    start_ticks: stat.starttime,
                })
            })
            .collect()
    }
}
