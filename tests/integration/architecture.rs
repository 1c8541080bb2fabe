//! The source keeps the layout that `src/lib.rs` shows: imports point to lower floors, no modules import each other, each
//! dependency and the clock are used in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

use crate::support::repository;

/// Dependencies that may be used anywhere.
const ANYWHERE: &[&str] = &["fastrand", "jiff", "regex_lite", "serde", "serde_json", "strum", "tokio", "tracing"];

/// The modules in which each of the other dependencies is used.
const PLACES: &[(&str, &[&str])] = &[
    ("aws_credential_types", &["simulator", "sts"]),
    ("aws_sigv4", &["simulator", "sts"]),
    ("axum", &["http", "simulator"]),
    ("base64", &["http::auth"]),
    ("bcrypt", &["http::auth"]),
    ("clap", &["cli"]),
    ("envy", &["config"]),
    // The server in `http`, the client in `imds`, and in the simulator it names statuses.
    ("hyper", &["http", "imds", "simulator"]),
    ("hyper_util", &["http", "imds::transport", "simulator"]),
    ("maud", &["http"]),
    ("procfs", &["workload"]),
    ("prometheus", &["metrics"]),
    ("reqwest", &["cli::loopback_client", "imds", "platform::service_url", "sts"]),
    ("roxmltree", &["sts"]),
    ("rustix", &["imds::transport", "platform::clock", "platform::log_writer", "platform::process_memory"]),
    ("sd_notify", &["platform::systemd"]),
    ("serde_yaml_ng", &["http::auth"]),
    ("socket2", &["platform::listener", "simulator"]),
    ("strsim", &["config"]),
    ("tokio_rustls", &["cli::loopback_client", "http::auth", "sts"]),
    ("toml", &["runbook::explanation", "simulator"]),
    ("tower_http", &["http"]),
    ("tower_service", &["http"]),
    ("tracing_subscriber", &["platform::logging"]),
    ("webpki_roots", &["sts"]),
    ("zeroize", &["domain::signing", "imds", "sts"]),
    ("zeroizing_alloc", &[""]),
];

/// Calls that ask for the time, and the only module that may make them.
const CLOCK: (&[&str], &str) = (&["Timestamp::now(", "SystemTime", "Instant::now(", "Zoned::now("], "platform::clock");

/// What the simulator may use of the rest.
const SIMULATOR_USES: &[&str] = &["domain", "platform::clock"];

/// A source file: its module path and its text.
struct Source {
    module: Vec<String>,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.module.join("::")
    }
}

/// All source files but the build script and the tests' own files.
fn sources() -> Vec<Source> {
    fn walk(folder: &Path) -> Vec<PathBuf> {
        let entries =
            fs::read_dir(folder).expect("src can be read").map(|entry| entry.expect("src can be read").path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }
    let src = repository::path("src");
    let files = walk(&src).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let sources = files.filter_map(|path| {
        let relative = path.strip_prefix(&src).expect("it is below src").with_extension("");
        let mut module: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        module.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
        let skipped = module == ["build"] || module.iter().any(|part| part == "tests");
        (!skipped).then(|| Source { module, text: fs::read_to_string(&path).expect("a source is text") })
    });
    sources.collect()
}

/// The floors that the table in the crate's documentation shows, the highest first.
fn floors(sources: &[Source]) -> Vec<Vec<String>> {
    let lib = sources.iter().find(|source| source.module.is_empty()).expect("there is a lib.rs");
    let rows = lib.text.lines().filter_map(|line| line.strip_prefix("//! | ")).filter(|row| row.contains("[`"));
    rows.map(|row| {
        let modules = row.split(" | ").nth(1).expect("a row has a column of modules");
        modules.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    })
    .collect()
}

/// The paths that a file mentions outside of its unit tests.
#[derive(Default)]
struct Mentioned {
    paths: Vec<Vec<String>>,
    children: Vec<String>,
}

impl Mentioned {
    fn by(text: &str) -> Self {
        let mut mentioned = Self::default();
        mentioned.visit_file(&syn::parse_file(text).expect("the source compiles"));
        mentioned
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.paths.push(before.to_vec()),
            syn::UseTree::Name(name) => self.paths.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.paths.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.paths.push(before.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(item, before)),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Mentioned {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        if item.content.is_none() {
            self.children.push(item.ident.to_string());
        }
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    /// `pub(super)` is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

/// The modules that a file uses, each as the longest prefix of the path that is a file.
fn uses(source: &Source, mentioned: &Mentioned, files: &BTreeSet<String>) -> BTreeSet<String> {
    let absolute = |path: &[String]| -> Option<Vec<String>> {
        let mut module = source.module.clone();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module.as_slice(), &path[1..]].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                module.truncate(module.len() - ups);
                Some([module.as_slice(), &path[ups..]].concat())
            }
            first if mentioned.children.iter().any(|child| child == first) => Some([module.as_slice(), path].concat()),
            _ => None,
        }
    };
    let file_of = |mut path: Vec<String>| {
        while !files.contains(&path.join("::")) {
            path.pop();
        }
        path.join("::")
    };
    let own = source.name();
    let children =
        mentioned.children.iter().map(|child| [source.module.as_slice(), std::slice::from_ref(child)].concat());
    let mentioned = mentioned.paths.iter().filter_map(|path| absolute(path)).chain(children);
    mentioned.map(file_of).filter(|used| *used != own).collect()
}

fn is_within(module: &str, place: &str) -> bool {
    module == place || module.strip_prefix(place).is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn imports_point_to_lower_floors_and_no_modules_use_each_other() {
    let sources = sources();
    let floors = floors(&sources);
    let floor = |module: &str| floors.iter().position(|modules| modules.iter().any(|known| known == module));
    let files: BTreeSet<_> = sources.iter().map(Source::name).collect();
    let top = |name: &str| name.split("::").next().expect("a path has a part").to_owned();
    let in_table: BTreeSet<_> = floors.iter().flatten().cloned().collect();
    let in_source: BTreeSet<_> =
        files.iter().map(|name| top(name)).filter(|name| !["", "main"].contains(&name.as_str())).collect();
    assert_eq!(in_table, in_source, "the table of lib.rs has the modules");

    let mut wrong = Vec::new();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| in_source.contains(&top(&source.name()))) {
        let (name, own) = (source.name(), top(&source.name()));
        let used = uses(source, &Mentioned::by(&source.text), &files);
        for used in used.iter().filter(|used| top(used) != own) {
            if floor(&top(used)) <= floor(&own) {
                wrong.push(format!("{name} uses {used}, which is not on a lower floor"));
            }
            if own == "simulator" && !SIMULATOR_USES.iter().any(|place| is_within(used, place)) {
                wrong.push(format!("{name} uses {used}, which the simulator must not know"));
            }
        }
        graph.insert(name, used);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Without those that use none of the others, again and again, those that use each other are left.
    while let Some(name) =
        graph.iter().find(|(_, used)| !used.iter().any(|used| graph.contains_key(used))).map(|(name, _)| name.clone())
    {
        graph.remove(&name);
    }
    assert!(graph.is_empty(), "modules use each other: {graph:#?}");
}

#[test]
fn each_dependency_has_one_place() {
    let manifest: toml::Table = toml::from_str(include_str!("../../Cargo.toml")).expect("the manifest is TOML");
    let declared = manifest["dependencies"].as_table().expect("a table");
    let declared: BTreeSet<_> = declared.keys().map(|name| name.replace('-', "_")).collect();
    let placed = PLACES.iter().map(|(name, _)| *name).chain(ANYWHERE.iter().copied());
    let placed: BTreeSet<_> = placed.map(str::to_owned).collect();
    assert_eq!(declared, placed, "each dependency is listed above");

    let mut wrong = Vec::new();
    for source in sources() {
        let name = source.name();
        let mentioned = Mentioned::by(&source.text);
        for first in mentioned.paths.iter().filter(|path| path.len() > 1).map(|path| &path[0]) {
            let own = PLACES.iter().find(|(known, _)| known == first).map(|(_, places)| *places);
            if own.is_some_and(|places| !places.iter().any(|place| is_within(&name, place))) {
                wrong.push(format!("{name} uses the crate {first}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_one_module_asks_for_the_time_and_each_has_a_header() {
    let (calls, place) = CLOCK;
    for source in sources() {
        assert!(source.text.starts_with("//!"), "{} has no header", source.name());
        let code = source.text.split("#[cfg(test)]\nmod tests {").next().expect("a text has a beginning");
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for call in calls.iter().filter(|_| source.name() != place) {
            assert!(!code.contains(call), "{} calls {call}", source.name());
        }
    }
}
