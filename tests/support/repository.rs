//! Files of the repository, the generated ones among them.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of a file or folder of the repository.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file of the repository.
pub(crate) fn committed(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// Asserts that a generated file is `text`; with `UPDATE=1` it is written.
pub(crate) fn assert_current(relative: &str, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(relative), text).unwrap_or_else(|error| panic!("{relative}: {error}"));
    }
    let current = committed(relative) == text;
    assert!(current, "{relative} is not current: run UPDATE=1 cargo test, and review the difference");
}
