//! What changes with time, written anew at each scrape.
//!
//! As text, not through the library's encoder: that would make a scrape execute 1.7 times as many instructions. The labels'
//! values and HELP texts are literals of this crate, which need no escaping.

use std::fmt::Write;

use jiff::Timestamp;
use strum::VariantArray;

use super::catalog::{self, Spec};
use crate::domain::ImdsState;
use crate::domain::boto3::{Created, SDK};
use crate::domain::state::State;

/// The families at `at`; what is unknown is absent.
pub(super) fn families(state: &State, at: Timestamp) -> String {
    let mut text = String::new();
    begin(&mut text, catalog::STATE);
    let verdict = ImdsState::of(state, at);
    for state in ImdsState::VARIANTS {
        let (name, label, value) = (catalog::STATE.name, state.label(), u8::from(*state == verdict));
        line(&mut text, format_args!("{name}{{state=\"{label}\"}} {value}"));
    }
    let usable = Created::VARIANTS.iter().filter_map(|created| {
        let usable = state.client_usable(*created, at)?;
        Some((created.label(), u8::from(usable)))
    });
    for (index, (created, usable)) in usable.enumerate() {
        if index == 0 {
            begin(&mut text, catalog::CLIENT_USABLE);
        }
        let name = catalog::CLIENT_USABLE.name;
        line(&mut text, format_args!("{name}{{sdk=\"{SDK}\",created=\"{created}\"}} {usable}"));
    }
    if let Some(credential) = state.credential() {
        begin(&mut text, catalog::REMAINING);
        let (name, remaining) = (catalog::REMAINING.name, credential.remaining(at).as_secs_f64());
        line(&mut text, format_args!("{name} {remaining}"));
    }
    text
}

fn begin(text: &mut String, spec: Spec) {
    let Spec { name, metric_type, help, .. } = spec;
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {}", metric_type.label()));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all");
}
