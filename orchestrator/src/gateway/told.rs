//! What Azure tells of a vault: its items, jobs, recovery points, policies, and how it is protected
//! itself. Nothing of it is trusted to be there.

use jiff::Timestamp;
use serde_json::Value;

/// An item that Azure protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// ARM id.
    pub id: String,
    /// Its name as flow files write it, with its kind.
    pub name: String,
    /// Its newest recovery point, as the list tells it.
    pub last_recovery_point: Option<Timestamp>,
    /// ARM id of what is protected.
    pub source: String,
    /// ARM id of its backup policy.
    pub policy: String,
    /// Whether it is not backed up any more: stopped, suspended, or waiting to be deleted.
    pub stopped: bool,
}

/// A job of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `InProgress`, `Completed`, …
    pub status: String,
    /// The container of what it works on, where Azure tells it.
    pub container: String,
    /// What it works on.
    pub friendly: String,
    /// The client request id of the request that began it, which is the decision's.
    pub activity: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// ARM id.
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
    /// Where its data is, in the words of flow files.
    pub tiers: Vec<&'static str>,
}

/// How long a backup policy keeps what it makes each day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// ARM id of the policy.
    pub id: String,
    /// Days; none where it says none.
    pub daily: Option<i64>,
}

/// What protects a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    /// `Disabled`, `Unlocked`, `Locked`; empty where Azure does not say.
    pub immutability: String,
    /// `AlwaysON`, `Enabled`, `Disabled`; empty where Azure does not say.
    pub soft_delete: String,
}

pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

pub(super) fn instant(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer)?.parse().ok()
}

/// When a recovery point was made: those of workloads say it under a name of their own.
fn made_at(point: &Value) -> Option<Timestamp> {
    let at = |name| instant(point, name);
    at("/properties/recoveryPointTime").or_else(|| at("/properties/recoveryPointTimeInUTC"))
}

/// Where the data of a recovery point is, in the words of flow files.
fn tiers(point: &Value) -> Vec<&'static str> {
    // A share's is a snapshot where nothing is told of a vault.
    let share = text(point, "/properties/objectType") == Some("AzureFileShareRecoveryPoint");
    if share
        && point
            .pointer("/properties/recoveryPointTierDetails")
            .is_none()
    {
        return vec!["snapshot"];
    }
    let details = point
        .pointer("/properties/recoveryPointTierDetails")
        .and_then(Value::as_array);
    let named = |detail: &Value| {
        let status = text(detail, "/status").unwrap_or_default();
        if matches!(status, "Deleted" | "Disabled" | "Invalid") {
            return None;
        }
        match text(detail, "/type")? {
            "InstantRP" => Some("snapshot"),
            "HardenedRP" => Some("vault"),
            "ArchivedRP" => Some("archive"),
            _ => None,
        }
    };
    details.into_iter().flatten().filter_map(named).collect()
}

impl Point {
    pub(super) fn read(value: &Value) -> Option<Point> {
        Some(Point {
            id: text(value, "/id")?.to_owned(),
            at: made_at(value)?,
            tiers: tiers(value),
        })
    }
}

impl Kept {
    /// Of databases it is the policy of full backups that says for how long.
    pub(super) fn read(value: &Value) -> Option<Kept> {
        let parts = value.pointer("/properties/subProtectionPolicy");
        let full = parts.and_then(Value::as_array).and_then(|parts| {
            parts
                .iter()
                .find(|part| text(part, "/policyType") == Some("Full"))
        });
        let retention = match full {
            Some(full) => full.get("retentionPolicy"),
            None => value.pointer("/properties/retentionPolicy"),
        };
        let duration = |schedule: &str| {
            let duration = retention?.pointer(&format!("/{schedule}/retentionDuration"))?;
            let count = duration.get("count")?.as_i64()?;
            let days = match text(duration, "/durationType")? {
                "Days" => 1,
                "Weeks" => 7,
                "Months" => 30,
                "Years" => 365,
                _ => return None,
            };
            count.checked_mul(days)
        };
        let simple = || {
            let duration = retention?.get("retentionDuration")?;
            (text(duration, "/durationType")? == "Days").then(|| duration.get("count")?.as_i64())?
        };
        Some(Kept {
            id: text(value, "/id")?.to_owned(),
            daily: duration("dailySchedule").or_else(simple),
        })
    }
}

impl Posture {
    pub(super) fn read(vault: &Value) -> Posture {
        let said = |name: &str| {
            let path = format!("/properties/securitySettings/{name}");
            text(vault, &path).unwrap_or_default().to_owned()
        };
        Posture {
            immutability: said("immutabilitySettings/state"),
            soft_delete: said("softDeleteSettings/softDeleteState"),
        }
    }
}

impl Protected {
    pub(super) fn read(value: &Value) -> Option<Protected> {
        let id = text(value, "/id")?.to_owned();
        let friendly = text(value, "/properties/friendlyName")?.to_owned();
        let management = text(value, "/properties/backupManagementType")?.to_owned();
        let source = text(value, "/properties/sourceResourceId")
            .unwrap_or_default()
            .to_owned();
        let part = |name: &str| {
            let mut parts = source.split('/');
            parts.find(|part| part.eq_ignore_ascii_case(name))?;
            parts.next().map(str::to_owned)
        };
        let server = || text(value, "/properties/serverName").map(str::to_owned);
        let name = match management.as_str() {
            "AzureIaasVM" => format!("vm:{}/{friendly}", part("resourceGroups")?),
            "AzureWorkload" => format!("sql:{}/{friendly}", server()?),
            "AzureStorage" => format!("share:{}/{friendly}", part("storageAccounts")?),
            _ => return None,
        };
        // What is stopped, or waits to be deleted, is not backed up by asking for it.
        let state = text(value, "/properties/protectionState").unwrap_or_default();
        let stopped = matches!(
            state,
            "ProtectionStopped" | "ProtectionPaused" | "BackupsSuspended"
        );
        let deleted =
            value.pointer("/properties/isScheduledForDeferredDelete") == Some(&Value::Bool(true));
        Some(Protected {
            id,
            name,
            last_recovery_point: instant(value, "/properties/lastRecoveryPoint"),
            source,
            policy: text(value, "/properties/policyId")
                .unwrap_or_default()
                .to_owned(),
            stopped: stopped || deleted,
        })
    }
}

impl Job {
    pub(super) fn read(value: &Value) -> Option<Job> {
        let property = |name: &str| {
            text(value, &format!("/properties/{name}"))
                .unwrap_or_default()
                .to_owned()
        };
        let error = text(value, "/properties/errorDetails/0/errorString");
        let error = error.map(|text| text.chars().filter(|c| !c.is_control()).collect());
        Some(Job {
            id: text(value, "/name")?.to_owned(),
            status: property("status"),
            container: property("containerName"),
            friendly: property("entityFriendlyName"),
            activity: property("activityId"),
            started: instant(value, "/properties/startTime"),
            ended: instant(value, "/properties/endTime"),
            error,
        })
    }

    /// Whether a decision began it. Azure's examples show the id twice, with something between.
    pub fn is_of(&self, decision: &str) -> bool {
        let given = self.activity.get(..decision.len());
        !decision.is_empty() && given.is_some_and(|given| given.eq_ignore_ascii_case(decision))
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        matches!(self.status.as_str(), "InProgress" | "Cancelling")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{made_at, tiers};

    #[test]
    fn points_say_when_and_where_in_the_words_of_their_kind() {
        let at = "2026-11-23T02:30:00Z";
        let read = |point: Value| (made_at(&point).is_some(), tiers(&point));
        let details = json!([{"type": "InstantRP", "status": "Valid"},
            {"type": "HardenedRP", "status": "Valid"}, {"type": "ArchivedRP", "status": "Deleted"}]);
        let machine = json!({"properties": {"objectType": "IaasVMRecoveryPoint",
            "recoveryPointTime": at, "recoveryPointTierDetails": details}});
        assert_eq!(read(machine), (true, vec!["snapshot", "vault"]));
        let database = json!({"properties": {"objectType": "AzureWorkloadSQLRecoveryPoint",
            "recoveryPointTimeInUTC": at, "recoveryPointTierDetails": [{"type": "HardenedRP", "status": "Valid"}]}});
        assert_eq!(read(database), (true, vec!["vault"]));
        let share = json!({"properties": {"objectType": "AzureFileShareRecoveryPoint",
            "recoveryPointTime": at}});
        assert_eq!(read(share), (true, vec!["snapshot"]));
        // Of anything else nothing is assumed.
        let other =
            json!({"properties": {"objectType": "IaasVMRecoveryPoint", "recoveryPointTime": 1}});
        assert_eq!(read(other), (false, Vec::new()));
    }
}
