//! The resources that a process uses.

use std::fs;

use tokio::process::Child;

use super::wait::{DEADLINE, answer_within};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    pub(crate) descriptors: usize,
    threads: u64,
    rss_kib: u64,
}

impl Resources {
    pub(crate) fn of(child: &Child) -> Self {
        let pid = child.id().expect("the process runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has this field");
            line.trim_end_matches("kB").trim().parse().expect("a number")
        };
        Self { descriptors: descriptors(pid), threads: field("Threads:"), rss_kib: field("VmRSS:") }
    }

    /// Descriptors and threads return to this level in time, when the kernel and the runtime close them; memory is then
    /// at most `margin_kib` above it.
    pub(crate) async fn assert_restored(self, child: &Child, margin_kib: u64, what: &str) {
        let restored = answer_within(DEADLINE, async || {
            let now = Self::of(child);
            (now.descriptors <= self.descriptors && now.threads <= self.threads).then_some(now)
        });
        let now = restored.await.unwrap_or_else(|| panic!("{what}: {:?} does not return to {self:?}", Self::of(child)));
        assert!(now.rss_kib <= self.rss_kib + margin_kib, "{what}: {now:?}, from {self:?}");
    }
}

/// The number of open file descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    let folder = format!("/proc/{pid}/fd");
    // Its size, which Linux has since 6.2, can be read without root although the process is not dumpable.
    match fs::metadata(&folder).expect("the process runs").len() {
        0 => fs::read_dir(folder).expect("root may read it").count(),
        size => usize::try_from(size).expect("a small number"),
    }
}
