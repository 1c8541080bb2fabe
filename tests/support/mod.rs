//! Helpers that both test binaries share.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod exporter;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod network_namespace;
pub(crate) mod program;
pub(crate) mod repository;
pub(crate) mod request;
pub(crate) mod resources;
pub(crate) mod scrape;
pub(crate) mod simulator;
pub(crate) mod source;
pub(crate) mod state_file;
pub(crate) mod sts;
pub(crate) mod tools;
pub(crate) mod wait;
pub(crate) mod web_config;
pub(crate) mod worker;
