//! Rows that say what stands behind a caller: a person, a workload, an agent, a flow.
//!
//! The kind decides how much policy trusts a caller, so it comes from here, where
//! reviewers see it, and not from the token.

use serde::Deserialize;
use serde_json::{Map, Value};
use vaultgate_pdp::PrincipalKind;

use super::ClaimPath;
use crate::config::Problems;

/// One `[[issuer.app]]` as written: `id`, `subject`, or `claim` and `value`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppFile {
    /// Client application that obtained the token.
    id: Option<String>,
    /// Subject of the token.
    subject: Option<String>,
    /// A claim of the token, with `value`.
    claim: Option<String>,
    /// What that claim must be.
    value: Option<String>,
    /// What stands behind it.
    kind: KindFile,
    /// Who answers for it, where the token names no person.
    person: Option<String>,
}

/// What stands behind a caller, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindFile {
    Human,
    Workload,
    Agent,
    Flow,
    Unknown,
}

impl From<KindFile> for PrincipalKind {
    fn from(written: KindFile) -> PrincipalKind {
        match written {
            KindFile::Human => PrincipalKind::Human,
            KindFile::Workload => PrincipalKind::Workload,
            KindFile::Agent => PrincipalKind::Agent,
            KindFile::Flow => PrincipalKind::Flow,
            KindFile::Unknown => PrincipalKind::Unknown,
        }
    }
}

/// A row that says what stands behind a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct App {
    /// Whom it is about.
    pub(crate) matches: Match,
    /// What stands behind them.
    pub(crate) kind: PrincipalKind,
    /// Who answers for them.
    pub(crate) person: Option<String>,
}

/// Whom a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// A client application.
    Id(String),
    /// A subject.
    Subject(String),
    /// Whoever has this value in that claim.
    Claim(ClaimPath, String),
}

impl App {
    /// Whether the row is about this caller.
    pub(crate) fn is(&self, app: Option<&str>, subject: &str, claims: &Map<String, Value>) -> bool {
        match &self.matches {
            Match::Id(id) => app == Some(id),
            Match::Subject(wanted) => subject == wanted,
            Match::Claim(path, wanted) => {
                path.find(claims).and_then(Value::as_str) == Some(wanted.as_str())
            }
        }
    }
}

/// Checks the rows of one issuer.
pub(super) fn check(rows: Vec<AppFile>, key: &str, problems: &mut Problems) -> Vec<App> {
    let mut apps: Vec<App> = Vec::new();
    for (i, row) in rows.into_iter().enumerate() {
        let key = format!("{key}[{i}]");
        let matches = match (row.id, row.subject, row.claim, row.value) {
            (Some(id), None, None, None) => Match::Id(id),
            (None, Some(subject), None, None) => Match::Subject(subject),
            (None, None, Some(claim), Some(value)) => Match::Claim(ClaimPath::new(&claim), value),
            _ => {
                problems.add(
                    key,
                    "a row is about one `id`, one `subject`, or one `claim` with its `value`",
                    "write one row for each",
                );
                continue;
            }
        };
        if apps.iter().any(|app| app.matches == matches) {
            problems.add(key, "an earlier row is about the same", "keep one of them");
        }
        apps.push(App {
            matches,
            kind: row.kind.into(),
            person: row.person,
        });
    }
    apps
}
