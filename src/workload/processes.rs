//! Watched processes, and those among them that are suspects: they started in an outage that is over, and still run.
//!
//! Owns what is read from `/proc`. A suspicion, never a proof: nobody can see from outside when a process created its
//! clients. Only the program's name is kept of a command line. A scan can take long, so it is for a separate thread.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use jiff::{SignedDuration, Timestamp};
use procfs::ProcError;
use procfs::process::{Process, Stat, all_processes};
use regex_lite::Regex;
use serde::Serialize;

use super::owner::Owner;
use crate::domain::SinceBoot;
use crate::domain::outage::Outage;

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
    pub outage: Outage,
    /// Who owns it.
    #[serde(flatten)]
    pub owner: Owner,
    /// With the id, tells a process from a later one of the same id.
    #[serde(skip)]
    pub(crate) start_ticks: u64,
}

/// A running process that is watched.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id.
    pub pid: i32,
    /// The program's name.
    pub command: String,
    /// When it started.
    pub started: SinceBoot,
    /// Clock ticks after boot at which it started.
    pub start_ticks: u64,
}

/// What a scan of the processes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Processes that match the pattern.
    pub processes: usize,
    /// Whether any process can be seen but the exporter itself.
    pub sees_others: bool,
    /// Processes that could not be read, for want of descriptors or memory: suspects may be missing.
    pub unread: usize,
    /// The suspects among them, longest running first.
    pub suspects: Vec<SuspectProcess>,
}

/// The suspects among `candidates`, longest running first. The machine booted at `booted_at`.
#[must_use]
pub fn suspects(
    candidates: Vec<Candidate>,
    outages: &[Outage<SinceBoot>],
    booted_at: Timestamp,
) -> Vec<SuspectProcess> {
    let inside = |at: SinceBoot, outage: &Outage<SinceBoot>| {
        outage.start.0.saturating_sub(STARTED_BEFORE) <= at.0 && START_TIME_ERROR <= outage.end.0.saturating_sub(at.0)
    };
    let mut suspects: Vec<_> = (candidates.into_iter())
        .filter_map(|candidate| {
            let outage = outages.iter().find(|outage| inside(candidate.started, outage))?.wall(booted_at);
            let Candidate { pid, command, started, start_ticks } = candidate;
            let (started_at, owner) = (started.wall(booted_at), Owner::default());
            Some(SuspectProcess { pid, command, started_at, outage, owner, start_ticks })
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

/// Scans all processes for those whose command line matches; the machine booted at `booted_at`. Those that may not be read
/// are skipped. Command lines are read anew each time: a process can replace its program.
#[must_use]
pub fn scan(pattern: &Regex, outages: &[Outage<SinceBoot>], booted_at: Timestamp) -> Watched {
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Watched::default();
    let Ok(processes) = all_processes() else { return Watched { unread: 1, ..found } };
    let mut matching = Vec::new();
    for process in processes {
        // Each holds a descriptor: they are dropped one by one.
        match process.and_then(|process| process.stat()) {
            Ok(stat) if Some(stat.pid) == own || has_ended(&stat) => {}
            Ok(stat) => {
                found.sees_others = true;
                match is_match(pattern, stat.pid) {
                    Ok(true) => matching.push(stat),
                    Ok(false) => {}
                    Err(_) => found.unread += 1,
                }
            }
            Err(ProcError::NotFound(_) | ProcError::PermissionDenied(_)) => {}
            Err(_) => found.unread += 1,
        }
    }
    found.processes = matching.len();
    found.suspects = suspects(matching.iter().filter_map(candidate).collect(), outages, booted_at);
    for suspect in &mut found.suspects {
        match read(suspect.pid, "cgroup", LONGEST_CGROUP) {
            Ok(cgroup) => suspect.owner = Owner::parse(&cgroup),
            Err(_) => found.unread += 1,
        }
    }
    found
}

fn is_match(pattern: &Regex, pid: i32) -> io::Result<bool> {
    let command_line = read(pid, "cmdline", LONGEST_COMMAND_LINE)?.replace('\0', " ");
    let command_line = command_line.trim_end();
    Ok(!command_line.is_empty() && pattern.is_match(command_line))
}

fn candidate(stat: &Stat) -> Option<Candidate> {
    let since_boot_ms = stat.starttime.saturating_mul(1000) / procfs::ticks_per_second();
    Some(Candidate {
        pid: stat.pid,
        command: stat.comm.chars().filter(|c| is_shown(*c)).take(32).collect(),
        started: SinceBoot(SignedDuration::from_millis(i64::try_from(since_boot_ms).ok()?)),
        start_ticks: stat.starttime,
    })
}

/// Neither a control character nor one that is invisible or changes the direction of a text: a program chooses its name.
fn is_shown(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    !c.is_control() && !is_format
}

/// A bounded part of a file of the process, whatever its bytes; empty if the process has ended or may not be read.
fn read(pid: i32, file: &str, longest: u64) -> io::Result<String> {
    /// `ESRCH`: the process ended between opening and reading.
    const NO_SUCH_PROCESS: i32 = 3;
    let mut content = Vec::new();
    let read = File::open(format!("/proc/{pid}/{file}")).and_then(|file| file.take(longest).read_to_end(&mut content));
    match read {
        Ok(_) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(String::new()),
        Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that runs until it is dropped.
    struct Worker(Child);

    impl Worker {
        fn start(arguments: &[&str]) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "read line"]).args(arguments).stdin(Stdio::piped());
            Self(command.spawn().expect("there is a shell"))
        }

        fn pid(&self) -> i32 {
            self.0.id().try_into().expect("a process id")
        }
    }

    impl Drop for Worker {
        fn drop(&mut self) {
            let _ended = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    fn at(second: i64) -> SinceBoot {
        SinceBoot(SignedDuration::from_secs(second))
    }

    fn always() -> Outage<SinceBoot> {
        Outage { start: at(0), end: SinceBoot(SignedDuration::MAX) }
    }

    const BOOTED_AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn scan(pattern: &str, outages: &[Outage<SinceBoot>]) -> Watched {
        super::scan(&Regex::new(pattern).expect("a regular expression"), outages, BOOTED_AT)
    }

    fn own_stat() -> Stat {
        Process::myself().and_then(|process| process.stat()).expect("a process sees itself")
    }

    fn stat_with(change: impl FnOnce(&mut Stat)) -> Stat {
        let mut stat = own_stat();
        change(&mut stat);
        stat
    }

    /// In no other process's command line.
    fn mark(test: &str) -> String {
        format!("{test}-{}", std::process::id())
    }

    #[test]
    fn an_outage_is_widened_at_its_start_and_a_start_at_its_very_end_was_after_it() {
        let outages = [Outage { start: at(1_000), end: at(1_100) }, Outage { start: at(2_000), end: at(2_000) }];
        let started = |(pid, ms)| Candidate {
            pid,
            command: "python3".to_owned(),
            started: SinceBoot(SignedDuration::from_millis(ms)),
            start_ticks: 0,
        };
        let started_ms =
            [(1, 969_999), (7, 2_000_000), (6, 1_970_000), (5, 1_099_951), (4, 1_099_950), (3, 970_000), (2, 970_000)];
        let found = suspects(started_ms.map(started).into(), &outages, BOOTED_AT);
        let found: Vec<_> = found.iter().map(|suspect| (suspect.pid, suspect.outage)).collect();
        let outages = outages.map(|outage| outage.wall(BOOTED_AT));
        assert_eq!(found, [(2, outages[0]), (3, outages[0]), (4, outages[0]), (6, outages[1])]);
        assert!(suspects(started_ms.map(started).into(), &[], BOOTED_AT).is_empty());
    }

    #[test]
    fn of_many_suspects_those_that_run_longest_are_kept() {
        let started = |pid| Candidate { pid, command: String::new(), started: at(i64::from(pid)), start_ticks: 0 };
        let found = suspects((1..=1_200).rev().map(started).collect(), &[always()], BOOTED_AT);
        assert_eq!(found.iter().map(|suspect| suspect.pid).collect::<Vec<_>>(), (1..=1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_process_still_runs_if_it_is_the_same_and_has_not_ended() {
        let suspect = |pid, start_ticks| SuspectProcess {
            pid,
            command: String::new(),
            started_at: BOOTED_AT,
            outage: Outage { start: BOOTED_AT, end: BOOTED_AT },
            owner: Owner::default(),
            start_ticks,
        };
        let own = own_stat();
        assert!(still_running(&suspect(own.pid, own.starttime)));
        assert!(!still_running(&suspect(own.pid, own.starttime + 1)), "another process with the same id");
        let worker = Worker::start(&[]);
        let pid = worker.pid();
        let start_ticks = Process::new(pid).and_then(|process| process.stat()).expect("it runs").starttime;
        assert!(still_running(&suspect(pid, start_ticks)));
        drop(worker);
        assert!(!still_running(&suspect(pid, start_ticks)), "it is gone");
        for (state, ended) in [('R', false), ('S', false), ('D', false), ('T', false), ('Z', true), ('X', true)] {
            assert_eq!(has_ended(&stat_with(|stat| stat.state = state)), ended, "{state}");
        }
    }

    #[test]
    fn a_scan_finds_the_processes_that_match_and_not_the_exporter() {
        let mark = mark("look");
        let worker = Worker::start(&[&mark]);
        let found = scan(&mark, &[always()]);
        assert_eq!((found.processes, found.sees_others), (1, true));
        let [suspect] = &found.suspects[..] else { panic!("it is the only one: {found:?}") };
        assert_eq!((suspect.pid, suspect.command.as_str()), (worker.pid(), "sh"));
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
        let uptime = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).expect("seconds");
        let now = at(uptime).wall(BOOTED_AT);
        // This much would be the clock's fault, or that of a machine that stands still.
        assert!(suspect.started_at.duration_until(now).abs() < SignedDuration::from_mins(2), "{suspect:?}");
        assert!(still_running(suspect));
        assert_eq!(scan(&mark, &[]).suspects, []);
        drop(worker);
        assert_eq!(scan(&mark, &[always()]).processes, 0);

        let own = own_stat().pid;
        let _worker = Worker::start(&[&mark]);
        let everything = scan("", &[always()]);
        assert!(everything.processes > 0 && everything.suspects.iter().all(|suspect| suspect.pid != own));
    }

    /// As `ddtrace-run` and `dotenv run` do, and each child between its fork and its exec.
    #[test]
    fn a_process_that_replaces_itself_is_found_although_its_name_stays() {
        let mark = mark("exec");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read line; exec sh -c 'read line' {mark}")]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("there is a shell");
        let matching = || scan(&format!("read line {mark}"), &[]).processes;
        assert_eq!(matching(), 0, "not yet");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, b"go\n").expect("it reads");
        let _worker = Worker(child);
        while matching() == 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_long_command_line_is_matched_as_far_as_it_is_read() {
        let [near, far] = ["near", "far"].map(mark);
        // The last argument begins after 64 KiB.
        let _worker = Worker::start(&[&"x".repeat(60_000), &near, &"x".repeat(6_000), &far]);
        assert_eq!(scan(&format!("x {near} x"), &[]).processes, 1, "arguments are parted by spaces");
        assert_eq!(scan(&far, &[]).processes, 0);
    }

    #[test]
    fn the_whole_cgroup_file_of_a_machine_with_every_hierarchy_is_read() {
        let path = format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubepods-pod{0}.slice/cri-containerd-{0}.scope",
            "f".repeat(64)
        );
        let hierarchies = format!("13:net_cls,net_prio:{path}\n").repeat(14);
        assert!(hierarchies.len() as u64 <= LONGEST_CGROUP);
    }

    #[test]
    fn a_start_is_counted_from_the_boot_and_a_name_is_printable() {
        let starttime = 12_345 * procfs::ticks_per_second() + procfs::ticks_per_second() / 2;
        let comm = format!("py\u{1b}\u{9b}\u{202e}\u{200b}thon{}", "3".repeat(40));
        let stat = stat_with(|stat| (stat.pid, stat.starttime, stat.comm) = (7, starttime, comm));
        let found = candidate(&stat).expect("a time since the boot");
        assert_eq!(found.started, SinceBoot(SignedDuration::from_millis(12_345_500)));
        assert_eq!(found.command, format!("python{}", "3".repeat(26)));
        assert_eq!((found.pid, found.start_ticks), (7, starttime));
    }

    #[test]
    fn a_file_of_a_process_is_read_up_to_a_bound() {
        let pid = own_stat().pid;
        let read = |file, longest| read(pid, file, longest).expect("it is there or not");
        assert_eq!(read("statm", 1_000).split_ascii_whitespace().count(), 7);
        assert_eq!(read("statm", 1).len(), 1);
        assert_eq!(read("no such file", 1_000), "");
    }
}
