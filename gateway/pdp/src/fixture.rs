//! Bundles for tests, made of texts.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::limits::Limits;
use crate::policy::Policy;
use crate::{Bundle, Rejected};

/// A manifest that is good.
pub(crate) const MANIFEST: &str =
    r#"{"revision": "t1", "roots": ["vaultgate"], "rego_version": 1}"#;

/// Grants reads to a role.
pub(crate) const ALLOW_READERS: &str = r#"package vaultgate

default decision := {"allow": false, "deny": [], "grants": [], "obligations": []}

decision := {"allow": true, "deny": [], "grants": ["reader"], "obligations": []} if {
	input.operation.class == "read"
	"reader" in input.principal.roles
}
"#;

/// An input that [`ALLOW_READERS`] allows.
pub(crate) const READER: &str =
    r#"{"operation": {"class": "read"}, "principal": {"roles": ["reader"]}}"#;

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// A bundle of one file of rules, and data.
pub(crate) fn bundle(rules: &str, data: &str) -> Bundle {
    let dir = folder(&[
        (".manifest", MANIFEST.as_bytes()),
        ("rules.rego", rules.as_bytes()),
        ("data.json", data.as_bytes()),
    ]);
    Bundle::load(dir.path()).unwrap()
}

/// Limits for tests that are not about time: machines are slow at times.
pub(crate) fn patient() -> Limits {
    Limits::default().with_time_limit(Duration::from_secs(5))
}

/// The admitted bundle of one file of rules.
pub(crate) fn policy(rules: &str) -> Policy {
    Policy::admit(bundle(rules, "{}"), &patient()).unwrap()
}

/// Why a bundle of one file of rules is not admitted.
pub(crate) fn rejected(rules: &str) -> Rejected {
    Policy::admit(bundle(rules, "{}"), &patient()).unwrap_err()
}

/// The folder of a bundle in this repository.
pub(crate) fn shipped(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}
