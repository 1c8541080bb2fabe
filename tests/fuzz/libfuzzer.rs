//! The target that `FUZZ_TARGET` names, under libFuzzer.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod targets;

static CHECK: LazyLock<targets::Check> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    targets::TARGETS.iter().find(|(target, _)| *target == name).expect("there is such a target").1
});

fuzz_target!(|input: &[u8]| CHECK(input));
