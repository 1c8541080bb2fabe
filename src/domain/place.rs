//! Where this program runs, as far as its environment tells, and what a resolution saw there: for advice.
//!
//! Owns plain values. Must not know the names of variables.

use strum::IntoStaticStr;

use super::resolution::Evidence;

/// What runs this program.
#[derive(Clone, Copy, Debug, Default, Eq, IntoStaticStr, PartialEq)]
#[strum(serialize_all = "snake_case")]
pub enum Platform {
    /// A machine, or a container on it that nothing more is known of.
    #[default]
    Host,
    /// A pod.
    Kubernetes,
    /// An ECS task.
    Ecs,
}

/// Where this program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What runs it.
    pub platform: Platform,
    /// Whether IMDS is asked at an IPv6 address.
    pub ipv6: bool,
    /// Whether its region is in China; `None` if no region is configured.
    pub in_china: Option<bool>,
}

/// What advice depends on beside the kind of failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Where this program runs.
    pub place: Place,
    /// What the resolution saw.
    pub evidence: Evidence,
}
