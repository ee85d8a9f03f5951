//! `.manifest`: what a bundle calls itself and which part of `data` is its own.

use serde::Deserialize;
use serde_json::Value;

use super::MANIFEST;
use crate::problem::Problem;
use crate::strict_json;

/// The manifest as written. Members of OPA that this gateway has no use for are
/// refused rather than passed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    revision: String,
    roots: Vec<String>,
    #[serde(default = "version_one")]
    rego_version: u32,
    /// Anything; not looked at.
    #[serde(default, rename = "metadata")]
    _metadata: Value,
}

/// The manifest, checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifest {
    pub(super) revision: String,
    roots: Vec<Vec<String>>,
}

fn version_one() -> u32 {
    1
}

impl Manifest {
    pub(super) fn of(text: Option<&str>, problems: &mut Vec<Problem>) -> Manifest {
        let hint = r#"write {"revision": "1", "roots": ["vaultgate"], "rego_version": 1}"#;
        let Some(text) = text else {
            let missing = Problem::error(MANIFEST, None, "the bundle has no manifest");
            problems.push(missing.hint(hint));
            return Manifest::default();
        };
        let file = strict_json::parse(text).and_then(serde_json::from_value::<ManifestFile>);
        match file {
            Ok(file) => Manifest::checked(file, problems),
            Err(error) => {
                let line = u32::try_from(error.line()).ok().filter(|line| *line > 0);
                problems.push(Problem::error(MANIFEST, line, error.to_string()).hint(hint));
                Manifest::default()
            }
        }
    }

    fn checked(file: ManifestFile, problems: &mut Vec<Problem>) -> Manifest {
        let mut complain = |message: String, hint: &str| {
            problems.push(Problem::error(MANIFEST, None, message).hint(hint));
        };
        if file.revision.trim().is_empty() {
            complain(
                "`revision` is empty".into(),
                "name the state of the bundle, for example a commit",
            );
        }
        if file.rego_version != 1 {
            complain(
                format!("`rego_version` {} is not spoken here", file.rego_version),
                "write the rules in Rego v1 and set it to 1",
            );
        }
        if file.roots.is_empty() {
            complain(
                "`roots` is empty".into(),
                r#"name the part of `data` that is the bundle's own: ["vaultgate"]"#,
            );
        }
        let mut roots: Vec<Vec<String>> = Vec::new();
        for root in &file.roots {
            let path: Vec<String> = root.split('/').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                complain(
                    format!("`{root}` is no root"),
                    "write names joined by `/`, without one at either end",
                );
            } else if roots
                .iter()
                .any(|other| path.starts_with(other) || other.starts_with(&path))
            {
                complain(
                    format!("the root `{root}` overlaps another one"),
                    "keep the wider one",
                );
            } else {
                roots.push(path);
            }
        }
        Manifest {
            revision: file.revision,
            roots,
        }
    }

    pub(super) fn owns(&self, path: &[String]) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    /// The roots under or above this path: a folder above a root is on the way.
    pub(super) fn touches(&self, path: &[String]) -> bool {
        self.owns(path) || self.roots.iter().any(|root| root.starts_with(path))
    }

    pub(super) fn unused_roots(&self, packages: &[Vec<String>], data: &Value) -> Vec<String> {
        let used = |root: &&Vec<String>| {
            let mut at = Some(data);
            for name in *root {
                at = at.and_then(|value| value.get(name));
            }
            at.is_some() || packages.iter().any(|package| package.starts_with(root))
        };
        let unused = self.roots.iter().filter(|root| !used(root));
        unused.map(|root| root.join("/")).collect()
    }
}
