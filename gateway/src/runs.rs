//! What flows say of their runs: the last word of each, for people to read here.
//!
//! The orchestrator opens no port: it tells how its runs stand, and everything that it tells is on
//! record before it is kept. It is its word alone: what reached Azure stands in the decisions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{Row, Store, StoreError, sql};

/// Most rows of one list, and of each flow in it.
const MOST: i64 = 1_000;
const SHOWN: i64 = 50;
/// Most runs that are kept of a flow.
const KEPT: i64 = 500;
/// How long a run is listed after it was told of last, milliseconds: 90 days.
const LISTED: i64 = 90 * 86_400_000;
/// Most letters of a reason.
const MAX_REASON: usize = 500;
/// Most controls that a run is evidence for.
const MAX_CONTROLS: usize = 32;
/// Most states that items of one run can be in.
const MAX_STATES: usize = 32;

/// What a flow says of one of its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// The flow, as its token names it.
    pub(crate) flow: String,
    /// The region.
    pub(crate) region: String,
    /// Its state, in the orchestrator's words.
    pub(crate) state: String,
    /// Why it is in that state.
    #[serde(default)]
    pub(crate) reason: String,
    /// When it was due.
    pub(crate) due: Timestamp,
    /// When it began.
    pub(crate) started: Option<Timestamp>,
    /// When it ended; nothing is told of it after that.
    pub(crate) ended: Option<Timestamp>,
    /// Digest of the definition that it runs.
    pub(crate) definition_digest: String,
    /// How many of its items are in which state.
    #[serde(default)]
    pub(crate) items: BTreeMap<String, u64>,
    /// Controls that it is evidence for, as the flow file names them.
    #[serde(default)]
    pub(crate) controls: Vec<String>,
}

/// A run as it was told of last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its id.
    pub(crate) id: Uuid,
    /// Who told it: issuer and subject.
    pub(crate) by: (String, String),
    /// When.
    pub(crate) at: Timestamp,
    /// What was said.
    #[serde(flatten)]
    pub(crate) report: Report,
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It may be kept.
    New,
    /// It was told before.
    Known,
    /// The run has ended otherwise.
    Ended,
}

impl Report {
    /// What is wrong with its form, if anything.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
        let word = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
        };
        if !word(&self.state) || !word(&self.flow) || !word(&self.region) {
            return Some(
                "`flow`, `region` and `state` are words of up to 64 letters, digits and hyphens",
            );
        }
        if self.reason.chars().count() > MAX_REASON || self.reason.chars().any(char::is_control) {
            return Some("`reason` has up to 500 letters, and no control characters");
        }
        if self.items.len() > MAX_STATES || !self.items.keys().all(|state| word(state)) {
            return Some("`items` counts items by up to 32 states");
        }
        let name = |text: &String| {
            !text.trim().is_empty() && text.len() <= 64 && !text.chars().any(char::is_control)
        };
        if self.controls.len() > MAX_CONTROLS || !self.controls.iter().all(name) {
            return Some("`controls` names up to 32 controls, each of up to 64 letters");
        }
        let digest = self.definition_digest.strip_prefix("sha256:");
        let hex = |hex: &str| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !digest.is_some_and(hex) {
            return Some("`definition_digest` is `sha256:` and 64 hex digits");
        }
        None
    }
}

/// The runs in the store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Runs {
    store: Store,
}

impl Runs {
    /// Runs kept in `store`.
    pub(crate) fn new(store: Store) -> Runs {
        Runs { store }
    }

    /// What would become of a report.
    pub(crate) async fn standing(&self, run: &Run) -> Result<Taken, StoreError> {
        let select = sql("SELECT content FROM runs WHERE flow = $1 AND id = $2")
            .bind(run.report.flow.clone())
            .bind(run.id.to_string());
        let Some(row) = self.store.first(select).await? else {
            return Ok(Taken::New);
        };
        let known = read(&row)?;
        Ok(match () {
            () if known.report == run.report => Taken::Known,
            () if known.report.ended.is_some() => Taken::Ended,
            () => Taken::New,
        })
    }

    /// Keeps what was said last of a run.
    pub(crate) async fn keep(&self, run: &Run) -> Result<(), StoreError> {
        let content =
            serde_json::to_string(run).map_err(|_| StoreError::Value { column: "content" })?;
        // What has ended stays so, whatever comes late.
        let upsert = sql(
            "INSERT INTO runs (flow, id, told_at, ended, content) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (flow, id) DO UPDATE SET told_at = $3, ended = $4, content = $5 WHERE runs.ended = 0",
        )
        .bind(run.report.flow.clone())
        .bind(run.id.to_string())
        .bind(run.at.as_millisecond())
        .bind(i64::from(run.report.ended.is_some()))
        .bind(content);
        // A flow that tells of runs without end forgets its own, and takes no room from anybody else.
        let trim = sql("DELETE FROM runs WHERE flow = $1 AND told_at <
             (SELECT told_at FROM runs WHERE flow = $1 ORDER BY told_at DESC LIMIT 1 OFFSET $2)")
        .bind(run.report.flow.clone())
        .bind(KEPT - 1);
        let mut change = self.store.begin().await?;
        change.execute(upsert).await?;
        change.execute(trim).await?;
        change.commit().await
    }

    /// Runs, those first that were told of last.
    pub(crate) async fn list(&self) -> Result<Vec<Run>, StoreError> {
        // So many of each flow: none of them hides another's.
        let select = sql("SELECT content FROM runs AS one WHERE told_at >= COALESCE(
             (SELECT told_at FROM runs AS other WHERE other.flow = one.flow
              ORDER BY told_at DESC LIMIT 1 OFFSET $1), 0) ORDER BY told_at DESC, id LIMIT $2");
        let rows = self.store.all(select.bind(SHOWN - 1).bind(MOST)).await?;
        rows.iter().map(read).collect()
    }

    /// Forgets what nobody has told of for long.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let delete = sql("DELETE FROM runs WHERE told_at <= $1");
        let long_ago = now.as_millisecond().saturating_sub(LISTED);
        let mut change = self.store.begin().await?;
        change.execute(delete.bind(long_ago)).await?;
        change.commit().await
    }
}

fn read(row: &Row) -> Result<Run, StoreError> {
    serde_json::from_str(&row.value::<String>("content")?)
        .map_err(|_| StoreError::Value { column: "content" })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use jiff::{Timestamp, ToSpan as _};
    use uuid::Uuid;

    use super::{KEPT, Report, Run, Runs, SHOWN, Taken};
    use crate::store::scratch;

    fn run(flow: &str, number: i64) -> Run {
        let due: Timestamp = "2026-11-23T02:30:00Z".parse().unwrap();
        Run {
            id: Uuid::from_u128(u128::try_from(number).unwrap()),
            by: ("issuer".to_owned(), "subject".to_owned()),
            at: due + number.seconds(),
            report: Report {
                flow: flow.to_owned(),
                region: "westeurope".to_owned(),
                state: "Running".to_owned(),
                reason: String::new(),
                due,
                started: Some(due),
                ended: None,
                definition_digest: format!("sha256:{}", "0".repeat(64)),
                items: std::iter::once(("Completed".to_owned(), 3)).collect(),
                controls: vec!["SOC2 A1.2".to_owned()],
            },
        }
    }

    #[tokio::test]
    async fn a_flow_takes_no_place_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::new(scratch::open(dir.path()).await);
        let own = run("nightly", 0);
        runs.keep(&own).await.unwrap();
        // The same id, and a thousand of its own: another flow's.
        for number in 0..KEPT + 20 {
            runs.keep(&run("noisy", number)).await.unwrap();
        }
        let listed = runs.list().await.unwrap();
        assert_eq!(listed.last(), Some(&own));
        let noisy = listed
            .iter()
            .filter(|run| run.report.flow == "noisy")
            .count();
        assert_eq!(i64::try_from(noisy).unwrap(), SHOWN);
        let oldest = runs.standing(&run("noisy", 0)).await.unwrap();
        assert_eq!(oldest, Taken::New, "it is forgotten");
        let mut ended = own.clone();
        (ended.report.state, ended.report.ended) = ("Completed".to_owned(), Some(ended.at));
        runs.keep(&ended).await.unwrap();
        assert_eq!(runs.standing(&own).await.unwrap(), Taken::Ended);
        runs.keep(&own).await.unwrap();
        assert_eq!(runs.standing(&ended).await.unwrap(), Taken::Known);
    }
}
