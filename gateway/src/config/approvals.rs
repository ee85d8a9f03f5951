//! `[approvals]`: who steers beside policy, and how freshly approvers sign in.
//!
//! Policy names who approves which request. What stands here holds for all of them, and for
//! what no policy judges: stopping an identity, freezing destruction.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Problems;
use super::duration::Written;

/// Longest time since a sign-in that still counts as a step-up.
const MAX_AGE: Duration = Duration::from_secs(3_600);
/// Most people that anything waits for.
const MAX_QUORUM: u32 = 20;

/// The section as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalsFile {
    #[serde(default)]
    acr: Vec<String>,
    #[serde(default = "five_minutes")]
    max_sign_in_age: Written,
    #[serde(default)]
    reviewers: Vec<String>,
    #[serde(default = "two")]
    quorum: u32,
    #[serde(default = "fifty")]
    pending_per_principal: u32,
    #[serde(default = "outbox")]
    outbox: PathBuf,
}

fn outbox() -> PathBuf {
    PathBuf::from("outbox")
}
fn five_minutes() -> Written {
    Written(Duration::from_secs(300))
}
fn two() -> u32 {
    2
}
fn fifty() -> u32 {
    50
}

/// What holds.
#[derive(Clone, Debug)]
pub(crate) struct Approvals {
    /// Authentication contexts of which an approver must have met one; empty for any.
    pub(crate) acr: Vec<String>,
    /// Longest time since an approver signed in.
    pub(crate) max_sign_in_age: Duration,
    /// Who may stop identities and freeze destruction: `group:…`, `role:…`.
    pub(crate) reviewers: Vec<String>,
    /// How many people it takes to let an identity go on, or to lift a freeze.
    pub(crate) quorum: u32,
    /// Open approvals that one principal may have.
    pub(crate) pending_per_principal: u32,
    /// Folder of what the channels have not taken yet.
    pub(crate) outbox: PathBuf,
}

impl ApprovalsFile {
    pub(super) fn check(self, base: &Path, problems: &mut Problems) -> Approvals {
        let age = self.max_sign_in_age.0;
        if age.is_zero() || age > MAX_AGE {
            problems.add(
                "approvals.max_sign_in_age",
                format!("`{age:?}` is no age of a sign-in that proves who approves"),
                "use a duration between 1s and 1h; 5m is usual",
            );
        }
        // One person would lift what one person's stolen session must not.
        if self.quorum < 2 || self.quorum > MAX_QUORUM {
            problems.add(
                "approvals.quorum",
                format!("`{}` is not 2 to {MAX_QUORUM} people", self.quorum),
                "leave it out to get 2",
            );
        }
        for name in &self.reviewers {
            let known = name.strip_prefix("group:").or(name.strip_prefix("role:"));
            if known.is_none_or(str::is_empty) {
                problems.add(
                    "approvals.reviewers",
                    format!("`{name}` names neither a group nor a role"),
                    "write it like `group:soc` or `role:backup.soc`",
                );
            }
        }
        Approvals {
            acr: self.acr,
            max_sign_in_age: age,
            reviewers: self.reviewers,
            quorum: self.quorum,
            pending_per_principal: self.pending_per_principal.clamp(1, 10_000),
            outbox: base.join(self.outbox),
        }
    }
}
