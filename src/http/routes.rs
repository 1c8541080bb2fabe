//! Every path that is served.

use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// A path that is served. Its doc comment says what it answers, and is shown to people.
#[derive(Clone, Copy, Debug, EnumMessage, Eq, IntoStaticStr, PartialEq, VariantArray)]
pub enum Route {
    /// The metrics; always 200. Compressed for clients that prefer gzip, as Prometheus does.
    #[strum(serialize = "/metrics")]
    Metrics,
    /// The status page, for people.
    #[strum(serialize = "/")]
    StatusPage,
    /// The status as JSON.
    #[strum(serialize = "/api/v1/status")]
    StatusJson,
    /// The runbook: a section for each alert and each kind of failure.
    #[strum(serialize = "/runbook")]
    Runbook,
    /// 200 while the poll loop is alive, 503 when it has been silent for 5 intervals. Does not depend on IMDS.
    #[strum(serialize = "/-/healthy")]
    Healthy,
    /// 200 once the first poll ended, whatever its result; 503 before.
    #[strum(serialize = "/-/ready")]
    Ready,
    /// 503 until credentials were resolved once in this boot of the machine, also by an earlier run that the state file knows of; then 200 permanently, and where the SDKs do not ask IMDS at all: for a `startupProbe` that holds the workload back.
    #[strum(serialize = "/-/startup")]
    Startup,
    /// 503 with the list while suspect processes run, else 200; `?command=NAME` asks for one program only.
    #[strum(serialize = "/-/clients")]
    Clients,
}

impl Route {
    /// The path.
    #[must_use]
    pub fn path(self) -> &'static str {
        self.into()
    }

    /// What it answers.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_documentation().expect("every route has a doc comment")
    }

    /// Whether it answers a probe, and shows nothing but whether something is well.
    pub(crate) fn is_probe(self) -> bool {
        self.path().starts_with("/-/")
    }
}
