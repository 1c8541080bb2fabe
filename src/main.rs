//! imds-exporter
fn main() {}
