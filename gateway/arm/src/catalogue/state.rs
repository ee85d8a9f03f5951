//! What a resource's state is made of, as far as a change rests on it.
//!
//! An approval is for a request on a resource that is in some state; when one of these
//! members has changed since, it is void. Nothing in here moves by itself: a time or a
//! health would void every approval.

/// JSON pointers into the resource, by the last fixed segment of its path.
pub(super) fn members(segment: &str) -> &'static [&'static str] {
    match segment {
        "protectedItems" => &[
            "/properties/protectionState",
            "/properties/policyId",
            "/properties/sourceResourceId",
            "/properties/isScheduledForDeferredDelete",
            "/properties/isArchiveEnabled",
            "/properties/softDeleteRetentionPeriodInDays",
        ],
        "backupInstances" => &[
            "/properties/currentProtectionState",
            "/properties/policyInfo/policyId",
            "/properties/dataSourceInfo/resourceID",
        ],
        "backupPolicies" => &[
            "/properties/backupManagementType",
            "/properties/retentionPolicy",
            "/properties/schedulePolicy",
            "/properties/subProtectionPolicy",
            "/properties/instantRpRetentionRangeInDays",
            "/properties/policyRules",
        ],
        "vaults" | "backupVaults" => &[
            "/properties/securitySettings",
            "/properties/redundancySettings",
            "/properties/storageSettings",
            "/properties/encryption",
            "/properties/publicNetworkAccess",
            "/properties/featureSettings",
        ],
        "vaultconfig" => &[
            "/properties/softDeleteFeatureState",
            "/properties/softDeleteRetentionPeriodInDays",
            "/properties/isSoftDeleteFeatureStateEditable",
            "/properties/enhancedSecurityState",
        ],
        "vaultstorageconfig" => &[
            "/properties/storageModelType",
            "/properties/storageType",
            "/properties/crossRegionRestoreFlag",
        ],
        "backupResourceGuardProxies" => &[
            "/properties/resourceGuardResourceId",
            "/properties/resourceGuardOperationDetails",
        ],
        "protectionContainers" => &[
            "/properties/containerType",
            "/properties/backupManagementType",
            "/properties/sourceResourceId",
        ],
        // Whether it is there at all is bound for everything.
        _ => &[],
    }
}
