//! Imports point down; each foreign crate has one place; the clock is asked in one place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by floor: a module may use those of lower floors only.
const FLOORS: &[&[&str]] = &[
    &["model", "clock"],
    &["client", "outage", "pace", "recent", "pulse", "source"],
    &["state", "runbook"],
    &["imds", "process", "statefile", "poller", "log", "simulator", "systemd"],
    &["journal", "metrics", "config", "check", "web"],
    &["status"],
    &["http"],
    &["app"],
    &["demo"],
    &["cli"],
];

/// Names that only these modules may speak.
const PLACES: &[(&str, &[&str])] = &[
    ("reqwest::", &["imds"]),
    ("hyper::Error", &["imds"]),
    ("prometheus::", &["metrics"]),
    ("axum::", &["http"]),
    ("hyper::server", &["http"]),
    ("envy::", &["config"]),
    ("lexopt::", &["cli"]),
    ("signal_hook::", &["cli"]),
    ("procfs::", &["process"]),
    ("toml::", &["simulator"]),
    ("httparse::", &["simulator"]),
    ("rustls::", &["web"]),
    ("bcrypt::", &["web"]),
    ("serde_yaml_ng::", &["web"]),
    ("socket2::", &["simulator"]),
    ("tracing_subscriber::", &["log"]),
    ("sd_notify::", &["systemd"]),
    ("Timestamp::now(", &["clock"]),
    ("SystemTime", &["clock"]),
    ("Instant::now(", &["clock"]),
];

/// Source files with the module that they belong to.
fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let sources = files.into_iter().filter_map(|path| {
        let relative = path.strip_prefix(&src).expect("it lies below src").to_owned();
        let first = relative.components().next().expect("a path has a part").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        let own = !["lib", "main", "build"].contains(&module.as_str());
        own.then(|| (module, relative, fs::read_to_string(&path).expect("a source is text")))
    });
    sources.collect()
}

/// The code without comments and without what stands below `#[cfg(test)]`.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().expect("a text has a beginning");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

#[test]
fn imports_point_down() {
    let floor: BTreeMap<_, _> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor)))
        .collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let own = *floor.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no floor"));
        let code = code(&text);
        let mut used: Vec<String> = Vec::new();
        for (position, _) in code.match_indices("crate::") {
            let rest = &code[position + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = &group[..group.find("};").expect("a group ends")];
                used.extend(group.split(',').map(|part| part.trim().split("::").next().expect("a part").to_owned()));
            } else {
                used.push(rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().expect("a part").to_owned());
            }
        }
        for used in used.iter().filter(|used| **used != module && !is_test(&path)) {
            match floor.get(used.as_str()) {
                Some(below) if *below < own => {}
                // The simulator stands beside the exporter: it shares the ground floor only.
                Some(_) => wrong.push(format!("{} uses crate::{used}", path.display())),
                None => wrong.push(format!("{} uses crate::{used}, which has no floor", path.display())),
            }
        }
        if module == "simulator" {
            let ground = |used: &String| *used == module || FLOORS[0].contains(&used.as_str());
            wrong.extend(
                used.iter().filter(|used| !ground(used)).map(|used| format!("the simulator uses crate::{used}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_foreign_crate_and_the_clock_have_one_place() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources().into_iter().filter(|(_, path, _)| !is_test(path)) {
        let code = code(&text);
        for (name, places) in PLACES {
            if code.contains(name) && !places.contains(&module.as_str()) {
                wrong.push(format!("{} speaks of {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_source_says_what_it_owns() {
    for (_, path, text) in sources() {
        let header = text.starts_with("//!") || is_test(&path);
        assert!(header, "{} has no header", path.display());
    }
}
