//! What the fuzz targets check, for any bytes: the tests run it on the seeds, and libFuzzer on what it makes of them.

mod answer;
mod config;
mod credentials;
mod profile_info;
mod request;
mod scenario;
mod state_file;
mod sts_answer;
mod token;

/// A property of every input; it panics where that does not hold.
pub(crate) type Check = fn(&[u8]);

/// All of them, by the name of the folder with their seeds.
pub(crate) const TARGETS: &[(&str, Check)] = &[
    ("answer", answer::check),
    ("config", config::check),
    ("credentials", credentials::check),
    ("profile_info", profile_info::check),
    ("request", request::check),
    ("scenario", scenario::check),
    ("state_file", state_file::check),
    ("sts_answer", sts_answer::check),
    ("token", token::check),
];
