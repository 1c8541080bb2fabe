//! The state file as JSON.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::wait::wait_until;

/// The content of a state file; `None` if there is none.
pub(crate) fn saved(state_file: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(state_file).ok()?).ok()
}

/// A time since the boot, by the wall clock as the file has it.
pub(crate) fn wall(saved: &Value, since_boot: &Value) -> Timestamp {
    let text = |value: &Value| value.as_str().expect("a time").to_owned();
    let booted_at: Timestamp = text(&saved["booted_at"]).parse().expect("an instant");
    booted_at + text(since_boot).parse::<SignedDuration>().expect("a duration")
}

/// Waits until the file is as wanted.
pub(crate) async fn until_saved(state_file: &Path, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || saved(state_file).is_some_and(|saved| wanted(&saved))).await;
    saved(state_file).expect("it was just there")
}

/// Changes the content of a state file.
pub(crate) fn edit(state_file: &Path, edit: impl FnOnce(&mut Value)) {
    let mut content = saved(state_file).expect("it is there");
    edit(&mut content);
    fs::write(state_file, content.to_string()).expect("the folder can be written");
}
