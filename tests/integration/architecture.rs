//! The source keeps the layout that `src/lib.rs` shows: imports point to lower floors, no modules import each other, each
//! dependency and the clock are used in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// Dependencies that may be used anywhere.
const ANYWHERE: &[&str] = &["fastrand", "jiff", "regex_lite", "serde", "serde_json", "strum", "tokio", "tracing"];

/// The modules in which each of the other dependencies is used.
const PLACES: &[(&str, &str)] = &[
    ("aws_credential_types", "simulator"),
    ("aws_credential_types", "sts"),
    ("aws_sigv4", "simulator"),
    ("aws_sigv4", "sts"),
    ("axum", "http"),
    ("axum", "simulator"),
    ("base64", "http::auth"),
    ("bcrypt", "http::auth"),
    ("clap", "cli"),
    ("envy", "config"),
    ("hyper_util", "http"),
    ("hyper_util", "imds::transport"),
    ("hyper_util", "simulator"),
    ("maud", "http"),
    ("procfs", "workload"),
    ("prometheus", "metrics"),
    ("reqwest", "cli::loopback_client"),
    ("reqwest", "imds"),
    ("reqwest", "platform::service_url"),
    ("reqwest", "sts"),
    ("roxmltree", "sts"),
    ("rustix", "imds::transport"),
    ("rustix", "platform::clock"),
    ("rustix", "platform::log_writer"),
    ("rustix", "platform::process_memory"),
    ("sd_notify", "platform::systemd"),
    ("serde_yaml_ng", "http::auth"),
    ("socket2", "platform::listener"),
    ("socket2", "simulator"),
    ("strsim", "config"),
    ("tokio_rustls", "cli::loopback_client"),
    ("tokio_rustls", "http::auth"),
    ("tokio_rustls", "sts"),
    ("toml", "simulator"),
    ("toml", "runbook::explanation"),
    ("tower_http", "http"),
    ("tower_service", "http"),
    ("tracing_subscriber", "platform::logging"),
    ("webpki_roots", "sts"),
    ("zeroize", "domain::signing"),
    ("zeroize", "imds"),
    ("zeroize", "sts"),
    ("zeroizing_alloc", ""),
];

/// `hyper` is the server in `http` and the simulator, and the client in `imds`.
const HYPER: &[&str] = &["http", "imds", "simulator"];

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
    files.sort();
    let sources = files.into_iter().filter_map(|path| {
        let relative = path.strip_prefix(&src).expect("it is below src").with_extension("");
        let mut module: Vec<_> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if ["mod", "lib"].contains(&module.last().expect("a path has a part").as_str()) {
            module.pop();
        }
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

/// What is wrong with the layout of these sources, as sentences.
fn violations(sources: &[Source]) -> Vec<String> {
    let floors = floors(sources);
    let floor = |module: &str| floors.iter().position(|modules| modules.iter().any(|known| known == module));
    let files: BTreeSet<_> = sources.iter().map(Source::name).collect();
    let mut wrong = Vec::new();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut top = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.module.is_empty() && source.module != ["main"]) {
        let (name, own) = (source.name(), &source.module[0]);
        top.insert(own.clone());
        let Some(own_floor) = floor(own) else {
            wrong.push(format!("{own} is not in the table of lib.rs"));
            continue;
        };
        let used = uses(source, &Mentioned::by(&source.text), &files);
        for used in &used {
            let used_top = used.split("::").next().expect("a path has a part");
            match floor(used_top) {
                _ if used_top == own => {}
                Some(below) if below > own_floor => {}
                _ => wrong.push(format!("{name} uses {used}, which is not on a lower floor")),
            }
            let allowed = used_top == own || SIMULATOR_USES.iter().any(|place| is_within(used, place));
            if own == "simulator" && !allowed {
                wrong.push(format!("{name} uses {used}, which the simulator must not know"));
            }
        }
        graph.insert(name, used);
    }
    for module in floors.iter().flatten().filter(|module| !top.contains(*module)) {
        wrong.push(format!("{module} is in the table of lib.rs, but not in the source"));
    }
    wrong.extend(circle(&graph).map(|circle| format!("modules use each other: {}", circle.join(" -> "))));
    wrong
}

/// A circle in the graph, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn follow<'a>(
        module: &'a str,
        graph: &'a BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|earlier| *earlier == module) {
            return Some(path[start..].iter().chain([&module]).map(|module| (*module).to_owned()).collect());
        }
        if !done.insert(module) {
            return None;
        }
        path.push(module);
        let found = graph.get(module).into_iter().flatten().find_map(|used| follow(used, graph, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| follow(module, graph, &mut Vec::new(), &mut done))
}

#[test]
fn imports_point_to_lower_floors_and_no_modules_use_each_other() {
    let wrong = violations(&sources());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_dependency_has_one_place() {
    let manifest: toml::Table = toml::from_str(include_str!("../../Cargo.toml")).expect("the manifest is TOML");
    let declared = manifest["dependencies"].as_table().expect("a table");
    let declared: BTreeSet<_> = declared.keys().map(|name| name.replace('-', "_")).collect();
    let placed = PLACES.iter().map(|(name, _)| *name).chain(ANYWHERE.iter().copied()).chain(["hyper"]);
    let placed: BTreeSet<_> = placed.map(str::to_owned).collect();
    assert_eq!(declared, placed, "each dependency is listed above");

    let mut wrong = Vec::new();
    for source in sources() {
        let name = source.name();
        let mentioned = Mentioned::by(&source.text);
        for first in mentioned.paths.iter().filter(|path| path.len() > 1).map(|path| &path[0]) {
            let listed: Vec<_> = PLACES.iter().filter(|(known, _)| known == first).map(|(_, place)| *place).collect();
            let allowed = if first == "hyper" { HYPER.to_vec() } else { listed };
            if !allowed.is_empty() && !allowed.iter().any(|place| is_within(&name, place)) {
                wrong.push(format!("{name} uses the crate {first}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_one_module_asks_for_the_time() {
    let (calls, place) = CLOCK;
    for source in sources().iter().filter(|source| source.name() != place) {
        let code = source.text.split("#[cfg(test)]\nmod tests {").next().expect("a text has a beginning");
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for call in calls {
            assert!(!code.contains(call), "{} calls {call}", source.name());
        }
    }
}

#[test]
fn every_source_has_a_header() {
    for source in sources() {
        assert!(source.text.starts_with("//!"), "{} has no header", source.name());
    }
}
