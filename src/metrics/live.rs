//! What changes from one moment to the next, rendered anew at each scrape.
//!
//! By hand: through the crate's encoder these few series would cost more than the rest of a scrape. Their labels'
//! values and HELP texts are literals of this crate, which need no escaping.

use std::fmt::{Display, Write};

use jiff::Timestamp;

use super::catalog::{self, Spec};
use crate::client::{Created, SDKS};
use crate::state::State;

/// Room that the families take.
const BYTES: usize = 640;

/// The families; what is unknown is absent.
pub(super) fn rendered(state: &State, at: Timestamp) -> String {
    let mut text = String::with_capacity(BYTES);
    let mut usable = Family::new(&mut text, catalog::CLIENT_USABLE);
    for (index, sdk) in SDKS.iter().enumerate() {
        for created in Created::ALL {
            if let Some(is) = state.client_usable(index, *created, at) {
                usable.series(&[sdk.label, created.label()], u8::from(is));
            }
        }
    }
    if let Some(credential) = state.credential() {
        let mut remaining = Family::new(&mut text, catalog::REMAINING);
        remaining.series(&[], credential.remaining(at).as_secs_f64());
    }
    text
}

/// A family that is written as its series come; without any, nothing of it is.
struct Family<'a> {
    text: &'a mut String,
    spec: Spec,
    begun: bool,
}

impl<'a> Family<'a> {
    fn new(text: &'a mut String, spec: Spec) -> Self {
        Self { text, spec, begun: false }
    }

    fn series(&mut self, values: &[&str], value: impl Display) {
        let Spec { name, metric_type, labels, help } = self.spec;
        if !self.begun {
            self.begun = true;
            self.push(&["# HELP ", name, " ", help, "\n# TYPE ", name, " ", metric_type.label(), "\n"]);
        }
        self.push(&[name]);
        let mut before = "{";
        for (label, value) in labels.iter().zip(values) {
            self.push(&[before, label, "=\"", value, "\""]);
            before = ",";
        }
        if !labels.is_empty() {
            self.push(&["}"]);
        }
        writeln!(self.text, " {value}").expect("a String takes all");
    }

    fn push(&mut self, parts: &[&str]) {
        self.text.extend(parts.iter().copied());
    }
}
