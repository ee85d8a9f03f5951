//! What a run asks for of an item: its backup, or that its newest recovery point be restored.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Turn;
use crate::flow::{Drill, Region, Work};
use crate::gateway::{Asked, Point, Sent, Trouble};
use crate::journal::{Item, JournalError, Run};
use crate::state::State;
use crate::verdict::Verdict;

/// The jobs of Azure that this work becomes.
pub(super) fn operation(work: &Work) -> &'static str {
    match work {
        Work::Drill(_) => "Restore",
        Work::Backup | Work::Review(_) => "Backup",
    }
}

/// What people read that an item does.
pub(super) fn asks(work: &Work) -> &'static str {
    match work {
        Work::Drill(drill) if drill.restores => "asks for its restore",
        Work::Drill(_) => "asks whether it could be restored",
        Work::Backup | Work::Review(_) => "asks for its backup",
    }
}

/// The request of an item, the same however often it is sent.
pub(crate) fn asked(region: &Region, run: &Run, item: &Item) -> Asked {
    match &region.work {
        Work::Drill(drill) => drilled(drill, item),
        Work::Backup | Work::Review(_) => {
            // As it was first asked for: another body under the same key is refused.
            backup(item, item.keep_until.unwrap_or(run.due))
        }
    }
}

fn backup(item: &Item, keep_until: Timestamp) -> Asked {
    let until = keep_until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kind = match item.name.split(':').next() {
        Some("sql") => "AzureWorkloadBackupRequest",
        Some("share") => "AzureFileShareBackupRequest",
        _ => "IaasVMBackupRequest",
    };
    Asked {
        path: format!("{}/backup", item.item),
        body: json!({"properties": {"objectType": kind, "recoveryPointExpiryTimeInUTC": until}}),
    }
}

/// Disks, into a resource group of their own: nothing that is there is touched.
fn drilled(drill: &Drill, item: &Item) -> Asked {
    let point = item.point.clone().unwrap_or_default();
    let restore = json!({
        "objectType": "IaasVMRestoreRequest",
        "recoveryPointId": point.rsplit('/').next(),
        "recoveryType": "RestoreDisks",
        "sourceResourceId": item.source,
        "storageAccountId": drill.storage_account,
        "region": drill.location,
        "targetResourceGroupId": drill.resource_group,
        "createNewCloudService": false,
        "originalStorageAccountOption": false,
    });
    if drill.restores {
        return Asked {
            path: format!("{point}/restore"),
            body: json!({"properties": restore}),
        };
    }
    Asked {
        path: format!("{}/backupValidateOperation", item.vault),
        body: json!({"properties": {"objectType": "ValidateIaasVMRestoreOperationRequest", "restoreRequest": restore}}),
    }
}

impl Turn<'_> {
    /// Settles which recovery point a drill restores, before anything is sent. Whether it goes on.
    pub(super) async fn choose_point(
        &self,
        run: &Run,
        item: &mut Item,
    ) -> Result<bool, JournalError> {
        if !matches!(self.region.work, Work::Drill(_)) || item.point.is_some() {
            return Ok(true);
        }
        match self.gateway.points(&item.item, run, self.now()).await {
            Ok(points) => match newest(&points) {
                Some(point) => {
                    item.point = Some(point.id.clone());
                    item.recovery_point = Some(point.at);
                    return Ok(true);
                }
                None => {
                    let reason = "it has no recovery point that could be restored";
                    self.finish(item, State::Failed, reason).await?;
                }
            },
            Err(trouble) => match super::resolve::lasting(&trouble) {
                Some(state) => {
                    let reason =
                        format!("its recovery points cannot be listed: {}", trouble.said());
                    self.finish(item, state, &reason).await?;
                }
                None => self.later(item, &trouble).await?,
            },
        }
        Ok(false)
    }

    async fn later(&self, item: &mut Item, trouble: &Trouble) -> Result<(), JournalError> {
        self.again(item, trouble.said(), trouble.wait(), false)
            .await
    }

    /// What an answer means to a question: there is nothing to look for, and it is asked again.
    pub(super) async fn told(
        &self,
        item: &mut Item,
        sent: Sent,
        answer: &Bytes,
    ) -> Result<(), JournalError> {
        item.doubt = false;
        if sent.decision.is_some() {
            item.decision = sent.decision;
        }
        match sent.verdict {
            Verdict::Done => self.validated(item, answer).await,
            Verdict::Denied(said) => {
                let reason = format!("{}: {}", said.code, said.message);
                self.finish(item, State::Denied, &reason).await
            }
            Verdict::Missing(said) | Verdict::Failed(said) => {
                let reason = format!("{}: {}", said.code, said.message);
                self.finish(item, State::Failed, &reason).await
            }
            Verdict::Transient(said, wait) => self.again(item, &said.message, wait, true).await,
            Verdict::Unauthenticated(said) => self.again(item, &said.message, None, false).await,
            Verdict::InProgress | Verdict::Unknown => {
                self.again(item, "Azure did not answer the question", None, true)
                    .await
            }
            Verdict::Approval(id) => {
                let reason = format!(
                    "approval {id} is needed, and nobody is asked to consent to a question"
                );
                self.finish(item, State::Denied, &reason).await
            }
        }
    }

    /// What Azure says of a restore that was only asked about.
    async fn validated(&self, item: &mut Item, answer: &Bytes) -> Result<(), JournalError> {
        let told: Value = serde_json::from_slice(answer).unwrap_or_default();
        let response = told
            .get("validateOperationResponse")
            .filter(|told| told.is_object());
        let at = item
            .recovery_point
            .map(|at| at.to_string())
            .unwrap_or_default();
        let Some(response) = response else {
            let why = "the answer to the validation cannot be read";
            return self.again(item, why, None, true).await;
        };
        // No objections are an empty list, or none.
        let results = response.get("validationResults").and_then(Value::as_array);
        let each = results.into_iter().flatten().map(|one| {
            let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{}: {}", text("code"), text("message"))
        });
        let each: Vec<String> = each.collect();
        if each.is_empty() {
            let reason = format!("the recovery point of {at} could be restored");
            return self.finish(item, State::Completed, &reason).await;
        }
        let reason = format!(
            "the recovery point of {at} could not be restored: {}",
            each.join("; ")
        );
        self.finish(item, State::Failed, &reason).await
    }

    /// A drill whose job is done says what it leaves behind: nobody cleans up after it unasked.
    pub(super) async fn restored(
        &self,
        item: &mut Item,
        drill: &Drill,
    ) -> Result<(), JournalError> {
        let at = item
            .recovery_point
            .map(|at| at.to_string())
            .unwrap_or_default();
        let reason = format!(
            "the recovery point of {at} was restored; its disks are left in {} and its files in {}: remove them",
            drill.resource_group, drill.storage_account
        );
        self.finish(item, State::Completed, &reason).await
    }
}

/// The newest recovery point that is at hand: one in the archive would have to be fetched first.
pub(crate) fn newest(points: &[Point]) -> Option<&Point> {
    let at_hand = points
        .iter()
        .filter(|point| point.tiers.iter().any(|tier| *tier != "archive"));
    at_hand.max_by_key(|point| point.at)
}
