//! Every fuzz target on its seeds, each of which found something once or leads to a part of the code.

use std::fs;

use imds_exporter::domain::SinceBoot;
use imds_exporter::domain::saved_state::SavedState;
use jiff::SignedDuration;

use crate::support::repository;

#[path = "../fuzz/targets/mod.rs"]
mod targets;

#[test]
fn every_target_holds_for_its_seeds() {
    let seeds = repository::path("tests/fuzz/seeds");
    let mut folders: Vec<_> =
        fs::read_dir(&seeds).expect("the seeds").map(|entry| entry.expect("an entry").file_name()).collect();
    folders.sort();
    assert_eq!(folders, targets::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, check) in targets::TARGETS {
        for seed in fs::read_dir(seeds.join(name)).expect("its seeds") {
            check(&fs::read(seed.expect("an entry").path()).expect("a file"));
        }
    }
}

/// A seed of an older format would lead nowhere.
#[test]
fn the_good_state_file_is_good() {
    let good = fs::read(repository::path("tests/fuzz/seeds/state_file/good.json")).expect("a file");
    assert!(SavedState::restore(&good, None, SinceBoot(SignedDuration::from_hours(24))).is_ok());
}
