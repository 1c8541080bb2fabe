//! Control groups of version 1 or 2. They need root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

/// A group that exists until it is dropped.
pub(crate) struct Cgroup {
    root: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// A group with this path below one of its own, in the hierarchy of this controller if there are several.
    pub(crate) fn create(controller: &str, path: &str) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = if is_v2() { PathBuf::from(ROOT) } else { Path::new(ROOT).join(controller) };
        if is_v2() && ["cpu", "pids"].contains(&controller) {
            fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
        let path = root.join(format!("imds-exporter-test-{}-{number}.slice", std::process::id())).join(path);
        fs::create_dir_all(&path)?;
        Ok(Self { root, path })
    }

    /// Moves a process into the group.
    pub(crate) fn add(&self, pid: u32) {
        fs::write(self.processes(), pid.to_string()).expect("a process can be moved");
    }

    /// The file to which a process writes its id to join the group.
    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Limits the processes and threads.
    pub(crate) fn limit_pids(&self, most: u32) {
        fs::write(self.path.join("pids.max"), most.to_string()).expect("the limit can be set");
    }

    /// Limits the CPU time of all its processes together, in microseconds of each 100 ms.
    pub(crate) fn limit_cpu(&self, microseconds: u32) -> io::Result<()> {
        if is_v2() {
            return fs::write(self.path.join("cpu.max"), format!("{microseconds} 100000"));
        }
        fs::write(self.path.join("cpu.cfs_period_us"), "100000")?;
        fs::write(self.path.join("cpu.cfs_quota_us"), microseconds.to_string())
    }
}

fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            // It may have ended meanwhile.
            let _ended = fs::write(self.root.join("cgroup.procs"), process);
        }
        for folder in self.path.ancestors().take_while(|folder| *folder != self.root) {
            // A process that was killed leaves the group a moment later.
            for _ in 0..100 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                sleep(Duration::from_millis(20));
            }
        }
    }
}
