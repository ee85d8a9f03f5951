//! The backup policies that every new world begins with.

use serde_json::{Value, json};

use super::shapes::last;

fn policy(vault: &str, name: &str, properties: Value) -> Value {
    json!({
        "id": format!("{vault}/backupPolicies/{name}"), "name": name,
        "type": "Microsoft.RecoveryServices/vaults/backupPolicies", "properties": properties,
    })
}

const AT_TWO: &str = "2026-01-01T02:00:00Z";

fn daily(days: u32) -> Value {
    json!({"retentionTimes": [AT_TWO], "retentionDuration": {"count": days, "durationType": "Days"}})
}

pub(super) fn machine_policy(vault: &str, name: &str, days: u32, weeks: u32) -> Value {
    let mut retention =
        json!({"retentionPolicyType": "LongTermRetentionPolicy", "dailySchedule": daily(days)});
    if weeks > 0 {
        let weekly = json!({"daysOfTheWeek": ["Sunday"], "retentionTimes": [AT_TWO], "retentionDuration": {"count": weeks, "durationType": "Weeks"}});
        crate::document::set(&mut retention, "/weeklySchedule", weekly);
    }
    policy(
        vault,
        name,
        json!({
            "backupManagementType": "AzureIaasVM", "policyType": "V1", "instantRpRetentionRangeInDays": 2,
            "schedulePolicy": {"schedulePolicyType": "SimpleSchedulePolicy", "scheduleRunFrequency": "Daily", "scheduleRunTimes": [AT_TWO], "scheduleWeeklyFrequency": 0},
            "retentionPolicy": retention, "timeZone": "UTC", "protectedItemsCount": 0, "resourceGuardOperationRequests": [],
        }),
    )
}

pub(super) fn workload_policy(vault: &str) -> Value {
    policy(
        vault,
        "HourlyLogBackup",
        json!({
            "backupManagementType": "AzureWorkload", "workLoadType": "SQLDataBase", "protectedItemsCount": 0,
            "settings": {"timeZone": "UTC", "issqlcompression": true, "isCompression": true},
            "subProtectionPolicy": [
                {"policyType": "Full", "schedulePolicy": {"schedulePolicyType": "SimpleSchedulePolicy", "scheduleRunFrequency": "Daily", "scheduleRunTimes": [AT_TWO], "scheduleWeeklyFrequency": 0},
                 "retentionPolicy": {"retentionPolicyType": "LongTermRetentionPolicy", "dailySchedule": daily(30)}},
                {"policyType": "Log", "schedulePolicy": {"schedulePolicyType": "LogSchedulePolicy", "scheduleFrequencyInMins": 60},
                 "retentionPolicy": {"retentionPolicyType": "SimpleRetentionPolicy", "retentionDuration": {"count": 30, "durationType": "Days"}}},
            ],
        }),
    )
}

pub(super) fn share_policy(vault: &str) -> Value {
    policy(
        vault,
        "AfsPolicy",
        json!({
            "backupManagementType": "AzureStorage", "workLoadType": "AzureFileShare", "timeZone": "UTC", "protectedItemsCount": 0,
            "schedulePolicy": {"schedulePolicyType": "SimpleSchedulePolicy", "scheduleRunFrequency": "Daily", "scheduleRunTimes": [AT_TWO]},
            "retentionPolicy": {"retentionPolicyType": "LongTermRetentionPolicy", "dailySchedule": daily(30)},
        }),
    )
}

pub(super) fn weekly_policy(id: &str) -> Value {
    json!({
        "id": id, "name": last(id), "type": "Microsoft.DataProtection/backupVaults/backupPolicies",
        "properties": {
            "objectType": "BackupPolicy", "datasourceTypes": ["Microsoft.Compute/disks"],
            "policyRules": [
                {"name": "BackupWeekly", "objectType": "AzureBackupRule",
                 "backupParameters": {"backupType": "Incremental", "objectType": "AzureBackupParams"},
                 "dataStore": {"dataStoreType": "OperationalStore", "objectType": "DataStoreInfoBase"},
                 "trigger": {"objectType": "ScheduleBasedTriggerContext", "schedule": {"repeatingTimeIntervals": ["R/2026-01-04T02:00:00+00:00/P1W"]},
                             "taggingCriteria": [{"isDefault": true, "taggingPriority": 99, "tagInfo": {"id": "Default_", "tagName": "Default"}}]}},
                {"name": "Default", "objectType": "AzureRetentionRule", "isDefault": true,
                 "lifecycles": [{"sourceDataStore": {"dataStoreType": "OperationalStore", "objectType": "DataStoreInfoBase"},
                                 "deleteAfter": {"duration": "P30D", "objectType": "AbsoluteDeleteOption"}, "targetDataStoreCopySettings": []}]},
            ],
        },
    })
}
