//! After a start: counters are rebuilt from the log's tail, and what a crash left
//! open is settled by reading Azure, before anything else.
//!
//! A change that may have reached Azure is never sent again. A job whose
//! `activityId` is the decision's id proves that it did; what cannot be known is
//! recorded as `unknown`, loudly, and never guessed.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_decision_log::read::Records;
use vaultgate_decision_log::{Kind, Priority};

use crate::activity::Activity;
use crate::idempotency::{Idempotency, Resolution};
use crate::observer::{Observer, Purpose};
use crate::recorder::Recorder;
use crate::store::Store;

/// Records at the end of the log in which a crash can have left something open:
/// far more than can be in flight at once.
const OPEN_WINDOW: u64 = 20_000;
/// Version that jobs are listed with.
const JOBS_VERSION: &str = "2026-08-01";

/// A forwarded change without an outcome.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Open {
    /// The decision.
    pub(super) decision: Uuid,
    /// HTTP method that was forwarded.
    pub(super) method: String,
    /// Vault of the resource.
    pub(super) vault: Option<String>,
}

#[derive(Serialize)]
struct Settled {
    decision: Uuid,
    outcome: &'static str,
    status: Option<u16>,
    reconciled: bool,
    operation: Option<Value>,
}

/// Rebuilds the counters and finds what a crash left open.
pub(super) async fn replay(
    dir: &Path,
    size: u64,
    store: &Store,
    activity: &Activity,
) -> anyhow::Result<Vec<Open>> {
    let known = match activity.load(store, size).await {
        Ok(index) => index.unwrap_or(0),
        Err(error) => {
            tracing::warn!(%error, "counters are rebuilt from the whole log");
            0
        }
    };
    let from = known.min(size.saturating_sub(OPEN_WINDOW));
    let mut open: HashMap<String, Open> = HashMap::new();
    for record in Records::open(dir, from).context("the log cannot be read")? {
        let record = record.context("the log cannot be read")?;
        let seq = record.seq;
        let record: Value = serde_json::from_slice(&record.leaf)
            .with_context(|| format!("record {seq} is not JSON"))?;
        if seq >= known {
            activity.replay(&record);
        }
        follow(&record, &mut open);
    }
    Ok(open.into_values().collect())
}

/// Opens a decision that forwards a change, and closes it with its outcome.
fn follow(record: &Value, open: &mut HashMap<String, Open>) {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    match text("/kind") {
        Some("decision") => {
            let method = text("/forward/method").unwrap_or("GET");
            let id = text("/id").and_then(|id| id.parse().ok());
            if let (Some(decision), true) = (id, method != "GET") {
                let entry = Open {
                    decision,
                    method: method.to_owned(),
                    vault: text("/input/resource/vault").map(str::to_owned),
                };
                open.insert(decision.to_string(), entry);
            }
        }
        Some("outcome") => {
            if let Some(decision) = text("/decision") {
                open.remove(decision);
            }
        }
        _ => {}
    }
}

/// Settles each open change by reading the jobs of its vault.
pub(super) async fn reconcile(
    open: Vec<Open>,
    observer: &Observer,
    recorder: &Recorder,
    idempotency: &Idempotency,
) {
    for change in open {
        let job = find_job(&change, observer).await;
        let settled = Settled {
            decision: change.decision,
            outcome: if job.is_some() { "accepted" } else { "unknown" },
            status: None,
            reconciled: true,
            operation: job.map(|job| json!({"job_id": job})),
        };
        if settled.outcome == "unknown" {
            tracing::error!(
                decision = %change.decision, method = change.method,
                "a change may or may not have reached Azure: look at the vault"
            );
        }
        // Durable before the doors open: the next start need not ask again.
        let id = Uuid::now_v7();
        if let Err(error) = recorder.write(Kind::Outcome, id, &settled, Priority::Restore).await {
            tracing::error!(%error, "a reconciled outcome was not recorded");
        }
        let resolved = idempotency.resolve(change.decision, Resolution::Unknown).await;
        if let Err(error) = resolved {
            tracing::warn!(%error, "an idempotency key stays in flight");
        }
    }
}

/// The job that this decision started, if the vault lists one.
async fn find_job(change: &Open, observer: &Observer) -> Option<String> {
    let vault = change.vault.as_deref()?;
    let target = format!("{vault}/backupJobs?api-version={JOBS_VERSION}");
    let purpose = Purpose::Reconciliation;
    let answer = observer.one(purpose, Some(change.decision), &target).await?;
    let page: Value = serde_json::from_slice(&answer.body).ok()?;
    let id = change.decision.to_string();
    let jobs = page.get("value")?.as_array()?;
    let started = jobs.iter().find(|job| {
        job.pointer("/properties/activityId").and_then(Value::as_str) == Some(&id)
    })?;
    started.get("name")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::follow;
    use serde_json::json;
    use std::collections::HashMap;

    #[test]
    fn only_changes_without_an_outcome_are_open() {
        let mut open = HashMap::new();
        let id = "0197b3a8-0000-7000-8000-000000000001";
        let read = json!({"kind": "decision", "id": id, "forward": {"method": "GET"}});
        let denied = json!({"kind": "decision", "id": id, "forward": null});
        let change = json!({"kind": "decision", "id": id, "forward": {"method": "POST"},
            "input": {"resource": {"vault": "/v"}}});
        let outcome = json!({"kind": "outcome", "id": "x", "decision": id});
        for record in [&read, &denied] {
            follow(record, &mut open);
            assert!(open.is_empty());
        }
        follow(&change, &mut open);
        assert_eq!(open.len(), 1);
        follow(&outcome, &mut open);
        assert!(open.is_empty());
    }
}
