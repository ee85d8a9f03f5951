//! Imports run downward only: reads the `use` lines and holds the order.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors of the gateway's modules, top to bottom. A module imports only from
/// floors below its own.
const FLOORS: [&[&str]; 14] = [
    &["commands"],
    &["serving"],
    &["attack", "console", "replay"],
    &["pipeline"],
    &[
        "api",
        "bundle_service",
        "custody",
        "facts",
        "idempotency",
        "shadow",
    ],
    &["anchor", "observer"],
    &["refusal", "upstream"],
    &["listener", "permit", "policy_source"],
    &["notices", "recorder"],
    &["admit"],
    &[
        "activity",
        "approvals",
        "authn",
        "deletions",
        "runs",
        "incident",
        "quarantine",
    ],
    &["store", "outbound"],
    &["config"],
    &[
        "address",
        "assent",
        "bundle_keys",
        "clock",
        "digest",
        "telemetry",
    ],
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The modules named by `use crate::…` in a file, braces included.
fn imports(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix("use crate::") else {
            continue;
        };
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.trim_end_matches(['}', ';']);
                let firsts = list.split(',').map(|item| item.trim());
                named.extend(firsts.map(|item| item.split("::").next().unwrap().to_owned()));
            }
            None => {
                let end = rest.find([':', ';']).unwrap_or(rest.len());
                named.push(rest.get(..end).unwrap().to_owned());
            }
        }
    }
    named
}

#[test]
fn imports_run_downward_only() {
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    let mut found = Vec::new();
    files(&source(), &mut found);
    for path in found {
        let relative = path.strip_prefix(source()).unwrap().to_owned();
        let module = relative
            .iter()
            .next()
            .unwrap()
            .to_string_lossy()
            .to_string();
        let module = module.trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = floor_of(&module) else {
            panic!("module `{module}` has no floor: give it one in layout.rs");
        };
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if import == module {
                continue;
            }
            match floor_of(&import) {
                Some(floor) if floor > own => {}
                _ => {
                    wrong.insert(relative.display().to_string(), import);
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not run downward: {wrong:#?}"
    );
}

#[test]
fn upstream_never_knows_a_caller() {
    let mut found = vec![source().join("upstream.rs")];
    files(&source().join("upstream"), &mut found);
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("authn"), "{} names authn", path.display());
    }
}

#[test]
fn the_emulator_imports_nothing_of_the_product() {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/sim");
    let manifest = fs::read_to_string(sim.join("Cargo.toml")).unwrap();
    for product in ["vaultgate-arm", "vaultgate-pdp", "vaultgate-decision-log"] {
        assert!(
            !manifest.contains(product),
            "the emulator depends on {product}"
        );
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in [
        "gateway",
        "orchestrator",
        "tests/sim",
        "tests/demo",
        "tests/it",
    ] {
        let mut found = Vec::new();
        files(&root.join(folder), &mut found);
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.display();
            assert!(text.starts_with("//!"), "{name} does not open with `//!`");
            let lines = text.lines().count();
            assert!(
                lines <= 700 || text.contains("One row per"),
                "{name} has {lines} lines"
            );
        }
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let told = fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    let foreign = names.filter(|(name, rest)| !name.starts_with('#') && !rest.contains("path = "));
    let mut seen = 0;
    for (name, _) in foreign {
        assert!(
            told.contains(&format!("`{name}`")),
            "`{name}` has no row in docs/dependencies.md"
        );
        seen += 1;
    }
    assert!(seen > 30, "only {seen} dependencies were found");
}
