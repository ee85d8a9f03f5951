//! What bodies are made of: operations whose class a body decides, and texts that JSON
//! readers have disagreed on, with what each must end with.

use serde_json::{Value, json};

use super::super::case::Expect::{self, Either, Hides, Passes, Refused};

/// Texts before or after the document.
#[rustfmt::skip]
pub(super) const AROUND: [(&str, &str, Expect); 22] = [
    (" \t\r\n", "", Passes), ("", "\r\n\t ", Passes), ("\u{feff}", "", Refused),
    ("", "\u{feff}", Refused), ("\u{a0}", "", Refused), ("\u{b}", "", Refused),
    ("", "\u{c}", Refused), ("", "\u{2028}", Refused), ("/**/", "", Refused), ("", "//x", Refused),
    ("", "#x", Refused), ("", "{}", Refused), ("", "x", Refused), ("", "\0", Refused),
    ("", ",", Refused), ("", "}", Refused), ("{", "", Refused), ("[", "]", Refused),
    (")]}'\n", "", Refused), ("\u{1e}", "", Refused), ("\"", "\"", Refused),
    ("{\"a\":", "}", Hides),
];

/// Values of a member that no model knows.
#[rustfmt::skip]
pub(super) const VALUES: [(&str, Expect); 52] = [
    ("null", Passes), ("true", Passes), ("{}", Passes), ("[]", Passes), ("\"\"", Passes),
    ("0", Passes), ("1e2", Passes), ("1.50", Passes), ("0.1e+1", Passes),
    ("9007199254740991", Passes), ("\"\\u0041\\/\\\"\"", Passes), ("\"\\ud83d\\ude00\"", Passes),
    ("\"\u{2028}\u{1f600}\"", Passes), ("\"\\u0000\"", Either), ("[1,[2,{\"a\":[]}]]", Passes),
    ("{\"properties\":{\"a\":1}}", Passes), ("-0", Refused), ("-1", Refused), ("1e400", Refused),
    ("1E-400", Either), ("9007199254740993", Refused), ("18446744073709551617", Refused),
    ("01", Refused), ("+1", Refused), (".5", Refused), ("1.", Refused), ("0x1", Refused),
    ("1e", Refused), ("NaN", Refused), ("Infinity", Refused), ("1_0", Refused),
    ("\u{ff11}", Refused), ("True", Refused), ("nul", Refused), ("undefined", Refused),
    ("", Refused), ("[1,]", Refused), ("[,1]", Refused), ("{\"a\":1,}", Refused), ("{,}", Refused),
    ("{a:1}", Refused), ("'a'", Refused), ("\"\\ud800\"", Refused), ("\"\\udc00\\ud800\"", Refused),
    ("\"\\ud800x\"", Refused), ("\"\\x41\"", Refused), ("\"\\u00e\"", Refused),
    ("\"\\'\"", Refused), ("\"\t\"", Refused), ("\"\n\"", Refused), ("\"\0\"", Refused),
    ("{\"a\":1,\"A\":2}", Refused),
];

/// Names of members that no model knows.
#[rustfmt::skip]
pub(super) const NAMES: [(&str, Expect); 12] = [
    ("notInAnyModel", Passes), ("__proto__", Passes), ("constructor", Passes), ("x y", Passes),
    ("a\\u0062c", Passes), ("$type", Refused), ("$ref", Refused),
    ("$serde_json::private::Number", Refused), ("propert\u{131}es", Refused),
    ("propertie\u{17f}", Refused), ("\\u00e9", Refused), ("a\\ud800", Refused),
];

pub(super) type Headers = (&'static [(&'static str, &'static str)], Expect);

/// What stands instead of one `Content-Type: application/json`.
#[rustfmt::skip]
pub(super) const HEADERS: [Headers; 18] = [
    (&[("content-type", "application/json; charset=utf-8")], Passes),
    (&[("content-type", "Application/JSON;charset=\"UTF-8\"")], Passes),
    (&[("content-type", "application/json"), ("content-encoding", "identity")], Passes),
    (&[("content-type", "application/json"), ("accept-encoding", "gzip")], Passes), (&[], Refused),
    (&[("content-type", "")], Refused), (&[("content-type", "text/json")], Refused),
    (&[("content-type", "application/merge-patch+json")], Refused),
    (&[("content-type", "application/json; charset=utf-16")], Refused),
    (&[("content-type", "application/json; charset=iso-8859-1")], Refused),
    (&[("content-type", "application/json, text/plain")], Refused),
    (&[("content-type", "application/json; a=b")], Refused),
    (&[("content-type", "application/json"), ("content-type", "application/json")], Refused),
    (&[("content-type", "application/x-www-form-urlencoded")], Refused),
    (&[("content-type", "multipart/form-data; boundary=x")], Refused),
    (&[("content-type", "application/json"), ("content-encoding", "gzip")], Refused),
    (&[("content-type", "application/json"), ("content-encoding", "identity, gzip")], Refused),
    (&[("content-type", "application/json"), ("content-encoding", "x")], Refused),
];

/// Members that hold ids, and what they may hold: `V` stands for the target's vault.
#[rustfmt::skip]
pub(super) const IDS: [(&str, &str, Expect); 16] = [
    ("policyId", "V/backupPolicies/p1", Passes), ("policyId", "v/BACKUPPOLICIES/P1", Passes),
    ("policyId", "W/backupPolicies/p1", Refused), ("policyId", "V/../w/backupPolicies/p1", Refused),
    ("policyId", "V/backupPolicies/%70", Refused), ("policyId", "V//backupPolicies/p1", Refused),
    ("policyId", "V/backupPolicies\\p1", Refused), ("policyId", "V/backupPolicies/p1?x", Refused),
    ("policyId", "V/backupPolicies/p1#x", Refused), ("policyId", "V/./backupPolicies/p1", Refused),
    ("vaultId", "V", Passes), ("vaultId", "W", Refused), ("notKnownId", "W", Either),
    ("notKnownId", "W/..", Refused), ("id", "W", Refused), ("id", "/subscriptions/x", Refused),
];

/// Members whose word decides what is done.
pub(in super::super) const DECIDING: [&str; 10] = [
    "objectType",
    "protectedItemType",
    "backupManagementType",
    "retentionPolicyType",
    "protectionState",
    "state",
    "softDeleteState",
    "softDeleteFeatureState",
    "storageModelType",
    "schedulePolicyType",
];

/// Operations whose class a body decides: method, what follows the vault, body.
#[rustfmt::skip]
pub(super) fn operations() -> Vec<(&'static str, &'static str, Value)> {
    let item = "/backupFabrics/Azure/protectionContainers/iaasvmcontainer;c;rg1;vm1/protectedItems/vm;c;rg1;vm1";
    let point: &'static str = "/backupFabrics/Azure/protectionContainers/iaasvmcontainer;c;rg1;vm1/protectedItems/vm;c;rg1;vm1/recoveryPoints/1/restore";
    let backup: &'static str = "/backupFabrics/Azure/protectionContainers/iaasvmcontainer;c;rg1;vm1/protectedItems/vm;c;rg1;vm1/backup";
    let vm = "Microsoft.Compute/virtualMachines";
    vec![
        (
            "PUT",
            item,
            json!({"properties": {"protectedItemType": vm, "sourceResourceId": ""}}),
        ),
        (
            "PUT",
            item,
            json!({"properties": {"protectedItemType": vm, "protectionState": "ProtectionStopped"}}),
        ),
        (
            "PUT",
            item,
            json!({"properties": {"protectedItemType": vm, "protectionState": "ProtectionStopped", "isRehydrate": true}}),
        ),
        (
            "POST",
            backup,
            json!({"properties": {"objectType": "IaasVMBackupRequest", "recoveryPointExpiryTimeInUTC": "2027-02-01T00:00:00Z"}}),
        ),
        (
            "POST",
            point,
            json!({"properties": {"objectType": "IaasVMRestoreRequest", "recoveryType": "RestoreDisks", "recoveryPointId": "1"}}),
        ),
        (
            "PATCH",
            "",
            json!({"properties": {"securitySettings": {"softDeleteSettings": {"softDeleteState": "Enabled", "softDeleteRetentionPeriodInDays": 20}, "immutabilitySettings": {"state": "Unlocked"}}}}),
        ),
        (
            "PATCH",
            "/backupconfig/vaultconfig",
            json!({"properties": {"softDeleteFeatureState": "Enabled", "softDeleteRetentionPeriodInDays": 30}}),
        ),
        (
            "PUT",
            "/backupPolicies/p1",
            json!({"properties": {"backupManagementType": "AzureIaasVM", "timeZone": "UTC", "retentionPolicy": {"retentionPolicyType": "LongTermRetentionPolicy", "dailySchedule": {"retentionDuration": {"count": 30, "durationType": "Days"}}}}}),
        ),
        (
            "PUT",
            "/backupPolicies/p2",
            json!({"properties": {"backupManagementType": "AzureStorage", "workLoadType": "AzureFileShare", "schedulePolicy": {"schedulePolicyType": "SimpleSchedulePolicy", "scheduleRunFrequency": "Daily"}}}),
        ),
        (
            "PUT",
            "/backupResourceGuardProxies/VaultProxy",
            json!({"properties": {"resourceGuardResourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.DataProtection/resourceGuards/r"}}),
        ),
        (
            "PUT",
            "/backupstorageconfig/vaultstorageconfig",
            json!({"properties": {"storageModelType": "GeoRedundant", "crossRegionRestoreFlag": true}}),
        ),
    ]
}
