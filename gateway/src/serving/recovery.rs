//! After a start: counters are rebuilt from the log's tail, and what a crash left
//! open is settled by reading Azure, before anything else.
//!
//! A change that may have reached Azure is never sent again. A job whose
//! `activityId` is the decision's id proves that it did; what cannot be known is
//! recorded as `unknown`, loudly, and never guessed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_decision_log::read::{Records, recorded};
use vaultgate_decision_log::{Kind, Priority};

use crate::activity::Activity;
use crate::address::local_part;
use crate::approvals::Approvals;
use crate::clock::Clock;
use crate::custody::watch::Watcher;
use crate::idempotency::{Idempotency, Resolution};
use crate::observer::{Observer, Purpose};
use crate::recorder::Recorder;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// Records at the end of the log in which a crash can have left something open:
/// far more than can be in flight at once.
const OPEN_WINDOW: u64 = 20_000;
/// Version that jobs are listed with.
const JOBS_VERSION: &str = "2026-08-01";
const DATA_PROTECTION_VERSION: &str = "2025-07-01";
/// Pages of jobs that are read for one vault.
const MAX_PAGES: usize = 50;

/// Age beyond which an accepted operation is not looked for any more.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(48);

/// A change's record is not looked for among those that are older than its key by more
/// than this. No clock in use is set back as far: changes are refused long before.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// A forwarded change without an outcome, or accepted and without an end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Open {
    /// The decision.
    pub(super) decision: Uuid,
    /// HTTP method that was forwarded.
    pub(super) method: String,
    /// Vault of the resource.
    pub(super) vault: Option<String>,
    /// Whether Azure had answered that it accepted the change.
    pub(super) accepted: bool,
    /// When it was decided.
    pub(super) at: Timestamp,
}

/// What the log says that the store may not know.
pub(super) struct Left {
    /// Changes without an end.
    pub(super) open: Vec<Open>,
    /// Approvals, each with the decision that it was used for: a store that was restored, or
    /// a crash before the approval was used up, must not make one good again.
    pub(super) used: Vec<(Uuid, Uuid)>,
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
) -> anyhow::Result<Left> {
    let known = match activity.load(store, size).await {
        Ok(index) => index.unwrap_or(0),
        // What other gateways count too must not be counted again from the beginning.
        Err(error) if store.shared() => {
            return Err(error).context("the shared counters cannot be read; hint: after a fork, give this gateway a new log folder and `log.origin`");
        }
        Err(error) => {
            tracing::warn!(%error, "counters are rebuilt from the whole log");
            0
        }
    };
    let from = known.min(size.saturating_sub(OPEN_WINDOW));
    let mut open: HashMap<Uuid, Open> = HashMap::new();
    let mut used = Vec::new();
    for record in Records::open(dir, from).context("the log cannot be read")? {
        let record = record.context("the log cannot be read")?;
        // Nothing else is counted or followed, and most records are something else.
        let kind = record.head().map(|head| head.kind);
        let Some(kind @ ("decision" | "outcome")) = kind else {
            continue;
        };
        let seq = record.seq;
        let unreadable = || format!("record {seq} is not one of a request");
        let followed = Followed::of(kind, &record.leaf).with_context(unreadable)?;
        used.extend(followed.uses());
        follow(followed, &mut open);
        if seq >= known {
            let record = serde_json::from_slice(&record.leaf).with_context(unreadable)?;
            activity.replay(&record);
        }
    }
    Ok(Left {
        open: open.into_values().collect(),
        used,
    })
}

/// What tells whether a change is open. Nothing else of a record is read: at a start
/// there are many, and most are long.
enum Followed<'r> {
    Decision(Decision<'r>),
    Outcome(Outcome<'r>),
}

impl<'r> Followed<'r> {
    fn of(kind: &str, leaf: &'r [u8]) -> serde_json::Result<Followed<'r>> {
        match kind {
            "decision" => serde_json::from_slice(leaf).map(Followed::Decision),
            _ => serde_json::from_slice(leaf).map(Followed::Outcome),
        }
    }
}

impl Followed<'_> {
    /// The approval that a decision used for a request, and the decision.
    fn uses(&self) -> Option<(Uuid, Uuid)> {
        match self {
            Followed::Decision(decision) if decision.forward.is_some() => {
                let shown = decision.approval.as_ref()?;
                (shown.event == "used").then_some((shown.id, decision.id))
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Decision<'r> {
    id: Uuid,
    time: Timestamp,
    #[serde(borrow)]
    forward: Option<Forward<'r>>,
    input: Option<Input<'r>>,
    #[serde(borrow)]
    approval: Option<Shown<'r>>,
}

#[derive(Deserialize)]
struct Shown<'r> {
    id: Uuid,
    #[serde(borrow)]
    event: Cow<'r, str>,
}

#[derive(Deserialize)]
struct Outcome<'r> {
    decision: Uuid,
    #[serde(borrow)]
    outcome: Cow<'r, str>,
}

#[derive(Deserialize)]
struct Forward<'r> {
    #[serde(borrow)]
    method: Cow<'r, str>,
}

#[derive(Deserialize)]
struct Input<'r> {
    #[serde(borrow)]
    resource: Option<Resource<'r>>,
}

#[derive(Deserialize)]
struct Resource<'r> {
    #[serde(borrow)]
    vault: Option<Cow<'r, str>>,
}

/// Opens a decision that forwards a change, and closes it with its outcome.
fn follow(record: Followed<'_>, open: &mut HashMap<Uuid, Open>) {
    match record {
        Followed::Decision(Decision {
            id,
            time,
            forward: Some(forward),
            input,
            ..
        }) if forward.method != "GET" => {
            let resource = input.and_then(|input| input.resource);
            let entry = Open {
                decision: id,
                method: forward.method.into_owned(),
                vault: resource.and_then(|resource| resource.vault.map(Cow::into_owned)),
                accepted: false,
                at: time,
            };
            open.insert(id, entry);
        }
        Followed::Decision(_) => {}
        Followed::Outcome(Outcome { decision, outcome }) => match open.get_mut(&decision) {
            // What started is followed to its end.
            Some(change) if outcome == "accepted" && change.vault.is_some() => {
                change.accepted = true;
            }
            _ => {
                open.remove(&decision);
            }
        },
    }
}

/// What settling a crash needs.
pub(super) struct Recovery<'r> {
    pub(super) observer: &'r Observer,
    pub(super) recorder: &'r Recorder,
    pub(super) idempotency: &'r Idempotency,
    pub(super) approvals: &'r Approvals,
    pub(super) watcher: &'r Watcher,
    pub(super) metrics: &'r Metrics,
    pub(super) clock: &'r Clock,
    /// Authority whose page links are followed.
    pub(super) authority: &'r str,
}

impl Recovery<'_> {
    /// Settles each open change by reading the jobs of its vault, and watches those
    /// that have not ended.
    ///
    /// An approval that cannot be used up as the log has it is an error: it would be good again.
    pub(super) async fn reconcile(&self, left: Left) -> anyhow::Result<()> {
        for (approval, decision) in left.used {
            self.spend(approval, decision).await?;
        }
        let (now, open) = (self.clock.now(), left.open);
        let mut vaults: HashMap<Option<String>, Vec<Open>> = HashMap::new();
        for change in open {
            if !change.accepted || now.duration_since(change.at) < MAX_AGE {
                vaults.entry(change.vault.clone()).or_default().push(change);
            }
        }
        for (vault, changes) in vaults {
            let jobs = match vault {
                Some(vault) => self.jobs(&vault).await,
                None => HashMap::new(),
            };
            for change in changes {
                let job = jobs.get(&change.decision.to_string());
                if !change.accepted {
                    self.settle(&change, job).await;
                }
                if let Some(job) = job {
                    self.watcher.add(change.decision, job.clone());
                }
            }
        }
        Ok(())
    }

    /// Uses up an approval that a decision on record used: whatever became of it, nothing is
    /// sent a second time under the same consent.
    async fn spend(&self, approval: Uuid, decision: Uuid) -> anyhow::Result<()> {
        match self.approvals.spend(approval, decision).await {
            // Without the store nothing can be used.
            Err(StoreError::Lost { .. }) => Ok(()),
            spent => spent.context("an approval was not used up as the log has it"),
        }
    }

    async fn settle(&self, change: &Open, job: Option<&String>) {
        let settled = Settled {
            decision: change.decision,
            outcome: if job.is_some() { "accepted" } else { "unknown" },
            status: None,
            reconciled: true,
            operation: job.map(|job| json!({"poll": job.split('?').next()})),
        };
        self.metrics.outcome(settled.outcome);
        if settled.outcome == "unknown" {
            tracing::error!(
                decision = %change.decision, method = change.method,
                "a change may or may not have reached Azure: look at the vault"
            );
        }
        // Durable before the doors open: the next start need not ask again.
        let id = Uuid::now_v7();
        let written = self
            .recorder
            .write(Kind::Outcome, id, &settled, Priority::Restore);
        if let Err(error) = written.await {
            tracing::error!(%error, "a reconciled outcome was not recorded");
        }
        let resolved = self
            .idempotency
            .resolve(change.decision, Resolution::Unknown);
        if let Err(error) = resolved.await {
            tracing::warn!(%error, "an idempotency key stays in flight");
        }
    }

    /// The vault's newest jobs, as targets to read them with, by the decision that
    /// started each. Azure lists the newest first, and what a crash left open is recent.
    async fn jobs(&self, vault: &str) -> HashMap<String, String> {
        let mut found = HashMap::new();
        let version = if vault
            .to_ascii_lowercase()
            .contains("/microsoft.dataprotection/")
        {
            DATA_PROTECTION_VERSION
        } else {
            JOBS_VERSION
        };
        let mut target = format!("{vault}/backupJobs?api-version={version}");
        for _ in 0..MAX_PAGES {
            let answer = self
                .observer
                .one(Purpose::Reconciliation, None, &target)
                .await;
            let page = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
            let Some(page) = page else { break };
            let jobs = page.get("value").and_then(Value::as_array);
            for job in jobs.into_iter().flatten() {
                // The two providers spell it differently.
                let activity = job
                    .pointer("/properties/activityId")
                    .or_else(|| job.pointer("/properties/activityID"));
                let name = job.get("name").and_then(Value::as_str);
                if let (Some(activity), Some(name)) = (activity.and_then(Value::as_str), name) {
                    let target = format!("{vault}/backupJobs/{name}?api-version={version}");
                    found.insert(activity.to_ascii_lowercase(), target);
                }
            }
            let next = page.get("nextLink").and_then(Value::as_str);
            let Some(next) = next.and_then(|next| local_part(next, self.authority)) else {
                break;
            };
            target = next.to_owned();
        }
        found
    }

    /// Settles the idempotency keys that a crash left without a decision or without a
    /// reply. What has no record was never sent, since a record comes first.
    pub(super) async fn release_keys(&self, dir: &Path) {
        let left = match self.idempotency.in_flight().await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "idempotency keys stay in flight");
                return;
            }
        };
        let Some(oldest) = left.iter().map(|change| change.started).min() else {
            return;
        };
        let ids = left.iter().map(|change| change.decision.to_string());
        // One that cannot be told would be before all records.
        let since = oldest.checked_sub(CLOCK_MARGIN);
        let since = format!("{:.3}", since.unwrap_or(Timestamp::UNIX_EPOCH));
        let recorded = match recorded(dir, &ids.collect(), &since) {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::warn!(%error, "idempotency keys stay in flight");
                return;
            }
        };
        for change in left {
            let resolution = match recorded.contains(&change.decision.to_string()) {
                false => Resolution::NotSent,
                true => Resolution::Unknown,
            };
            if let Err(error) = self.idempotency.resolve(change.decision, resolution).await {
                tracing::warn!(%error, "an idempotency key stays in flight");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::{Followed, follow};

    const ID: &str = "0197b3a8-0000-7000-8000-000000000001";

    fn decision(forward: Value) -> String {
        let vault = json!({"name": "v", "vault": "/v\u{e9}\n"});
        json!({
            "kind": "decision", "id": ID, "seq": 3, "time": "2026-11-23T03:00:00.000Z",
            "forward": forward, "input": {"principal": {}, "resource": vault},
        })
        .to_string()
    }

    fn outcome(word: &str) -> String {
        json!({
            "kind": "outcome", "id": "0197b3a8-0000-7000-8000-000000000002", "decision": ID,
            "time": "2026-11-23T03:00:01.000Z", "outcome": word, "status": 202,
        })
        .to_string()
    }

    #[test]
    fn only_changes_without_an_outcome_are_open() {
        let mut open = HashMap::new();
        let mut then = |record: String| {
            let kind = if record.contains("outcome") {
                "outcome"
            } else {
                "decision"
            };
            follow(Followed::of(kind, record.as_bytes()).unwrap(), &mut open);
            open.values().cloned().collect::<Vec<_>>()
        };
        assert!(then(decision(json!({"method": "GET"}))).is_empty());
        assert!(then(decision(json!(null))).is_empty());
        let changed = then(decision(json!({"method": "POST"})));
        let change = changed.first().unwrap();
        assert_eq!(change.vault.as_deref(), Some("/v\u{e9}\n"));
        assert_eq!((change.method.as_str(), change.accepted), ("POST", false));
        let followed = then(outcome("accepted"));
        assert!(followed.len() == 1 && followed.iter().all(|change| change.accepted));
        assert!(then(outcome("succeeded")).is_empty());
    }
}
