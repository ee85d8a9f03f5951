package vaultgate

import rego.v1

# Denials for what lowers protection and leaves the data. What stands here is refused
# whoever approves it; what does not, two others have to approve (`approvals.rego`).

# METADATA
# title: A weakening that is not to be
# description: Denials that only a request which lowers protection can meet.
deny contains reason if {
	input.operation.class == "weaken"
	some reason in deny_weaken
}

# Where each protection stands in a vault.
protections := {
	"properties.softDeleteFeatureState": "soft-delete",
	"properties.enhancedSecurityState": "soft-delete",
	"properties.softDeleteRetentionPeriodInDays": "soft-delete",
	"properties.securitySettings.softDeleteSettings.softDeleteState": "soft-delete",
	"properties.securitySettings.softDeleteSettings.enhancedSecurityState": "soft-delete",
	"properties.securitySettings.softDeleteSettings.state": "soft-delete",
	"properties.securitySettings.softDeleteSettings.softDeleteRetentionPeriodInDays": "soft-delete",
	"properties.securitySettings.softDeleteSettings.retentionDurationInDays": "soft-delete",
	"properties.securitySettings.immutabilitySettings.state": "immutability",
	"properties.securitySettings.multiUserAuthorization": "guard",
	"properties.storageModelType": "redundancy",
	"properties.storageType": "redundancy",
	"properties.storageSettings": "redundancy",
	"properties.redundancySettings.standardTierStorageRedundancy": "redundancy",
	"properties.encryption": "encryption",
	"properties.securitySettings.encryptionSettings": "encryption",
}

# The protections that the request lowers. A setting that is not known here is one too.
lowered contains object.get(protections, path, "exposure") if some path, _ in input.request.delta.lowered

lowered contains "guard" if endswith(lower(input.operation.name), "/backupresourceguardproxies/delete")

lowered contains "guard" if endswith(lower(input.operation.name), "/backupresourceguardproxies/write")

lowered contains "encryption" if endswith(lower(input.operation.name), "/backupencryptionconfigs/write")

# What may not be lowered at all.
disarmed contains protection if {
	some protection in lowered
	not may_be_lowered(protection)
}

may_be_lowered(protection) if protection in data.vaultgate.settings.weaken.allowed

# METADATA
# title: Soft delete lowered
# description: |
#   Soft delete is what brings back what was deleted. It is the first thing that attackers
#   switch off.
# custom:
#   code: soft-delete-lowered
#   severity: critical
#   control: [SOC2 CC7.1, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9(8), MCSB BR-2]
#   remediation: List `soft-delete` in `settings.weaken.allowed` for as long as it has to be lowered.
deny_weaken contains {
	"code": "soft-delete-lowered",
	"message": "soft delete is not switched off or shortened; whoever has to, has the policy changed first",
	"control": ["SOC2 CC7.1", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9(8)", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	"soft-delete" in disarmed
}

# METADATA
# title: Immutability lowered
# description: An immutable vault keeps recovery points from everybody, its owners too.
# custom:
#   code: immutability-lowered
#   severity: critical
#   control: [SOC2 CC7.1, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9(8), MCSB BR-2]
#   remediation: List `immutability` in `settings.weaken.allowed` for as long as it has to be lowered.
deny_weaken contains {
	"code": "immutability-lowered",
	"message": "immutability is not lowered; whoever has to, has the policy changed first",
	"control": ["SOC2 CC7.1", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9(8)", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	"immutability" in disarmed
}

# METADATA
# title: Resource guard unmapped
# description: Without its guard, a vault no longer needs a second person at Azure.
# custom:
#   code: guard-unmapped
#   severity: critical
#   control: [SOC2 CC6.3, ISO27001 A.5.3, NIST AC-3(2), MCSB PA-7]
#   remediation: List `guard` in `settings.weaken.allowed` for as long as a guard has to be unmapped.
deny_weaken contains {
	"code": "guard-unmapped",
	"message": "a resource guard is not taken from its vault; whoever has to, has the policy changed first",
	"control": ["SOC2 CC6.3", "ISO27001 A.5.3", "NIST AC-3(2)", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	"guard" in disarmed
}

# METADATA
# title: Redundancy lowered
# description: Fewer copies, or all of them in one place.
# custom:
#   code: redundancy-lowered
#   severity: high
#   control: [SOC2 A1.2, ISO27001 A.8.13, ISO27001 A.8.14, NIST CP-9, MCSB BR-2]
#   remediation: List `redundancy` in `settings.weaken.allowed` for as long as it has to be lowered.
deny_weaken contains {
	"code": "redundancy-lowered",
	"message": "the redundancy of a vault is not lowered; whoever has to, has the policy changed first",
	"control": ["SOC2 A1.2", "ISO27001 A.8.13", "ISO27001 A.8.14", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	"redundancy" in disarmed
}

# METADATA
# title: Encryption changed
# description: |
#   Whoever holds the key that backups are encrypted with can make all of them unreadable by
#   destroying it.
# custom:
#   code: encryption-changed
#   severity: critical
#   control: [SOC2 CC6.1, ISO27001 A.8.24, NIST CP-9(8), MCSB BR-2]
#   remediation: List `encryption` in `settings.weaken.allowed` for as long as the key has to be changed.
deny_weaken contains {
	"code": "encryption-changed",
	"message": "the encryption of a vault is not changed; whoever has to, has the policy changed first",
	"control": ["SOC2 CC6.1", "ISO27001 A.8.24", "NIST CP-9(8)", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	"encryption" in disarmed
}

# METADATA
# title: Vault exposed
# description: |
#   The network that reaches a vault, restores to other subscriptions, or a setting that is not
#   ranked here.
# custom:
#   code: vault-exposed
#   severity: high
#   control: [SOC2 CC6.6, ISO27001 A.8.20, NIST AC-3, MCSB BR-2]
#   remediation: List `exposure` in `settings.weaken.allowed` for as long as the setting has to be changed.
deny_weaken contains {
	"code": "vault-exposed",
	"message": sprintf(
		"these settings of a vault are not changed: %s; whoever has to, has the policy changed first",
		[concat(", ", sort({path | some path, _ in input.request.delta.lowered}))],
	),
	"control": ["SOC2 CC6.6", "ISO27001 A.8.20", "NIST AC-3", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	"exposure" in disarmed
}

# Days of retention that the request takes away.
retention_removed := abs(input.request.delta.retention_days) if input.request.delta.retention_days < 0

# METADATA
# title: Retention budget
# description: |
#   Many small cuts are one large one: days are counted over thirty days, for the principal, the
#   person and the vault, with those of this request.
# custom:
#   code: retention-budget
#   severity: critical
#   control: [SOC2 CC7.2, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Cut less, wait until earlier cuts are thirty days old, or raise `settings.weaken.retention_days`.
deny_weaken contains {
	"code": "retention-budget",
	"message": sprintf(
		"with this request more than %v days of retention would be taken away in thirty days; cut less, or wait",
		[shown(["weaken", "retention_days"])],
	),
	"control": ["SOC2 CC7.2", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	retention_removed
	some who in counted
	not may_cut(who)
}

may_cut(who) if {
	within(who.retention_days_removed["30d"] + retention_removed, data.vaultgate.settings.weaken.retention_days)
}

# Whose acts are counted: the principal's, the person's behind it, and those on the vault.
counted contains object.get(input, ["activity", "principal"], {})

counted contains object.get(input, ["activity", "vault"], {})

counted contains input.activity.person if is_object(input.activity.person)

# METADATA
# title: Weakened items budget
# description: Protection is lowered for so many items in thirty days, and for no more.
# custom:
#   code: items-weakened-budget
#   severity: high
#   control: [SOC2 CC7.2, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Wait until earlier ones are thirty days old, or raise `settings.weaken.items`.
deny_weaken contains {
	"code": "items-weakened-budget",
	"message": sprintf(
		"the protection of %v items may be lowered in thirty days, and was; wait, or have somebody else ask for another vault",
		[shown(["weaken", "items"])],
	),
	"control": ["SOC2 CC7.2", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	some who in counted
	not has_room(who, ["items_weakened", "30d"], ["weaken", "items"])
}

# METADATA
# title: Schedule thinned
# description: Backups are made less often than before.
# custom:
#   code: schedule-thinned
#   severity: high
#   control: [SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-1]
#   remediation: Keep at least as many runs a week as there were.
deny_weaken contains {
	"code": "schedule-thinned",
	"message": sprintf(
		"backups would be made %v times a week instead of %v; keep at least as many runs",
		[object.get(weekly_runs, "body", "an unknown number of"), object.get(weekly_runs, "before", "an unknown number")],
	),
	"control": ["SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-1"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	input.request.delta.schedule_changed == true
	not runs_kept
}

runs_kept if weekly_runs.body >= weekly_runs.before

# Runs in a week before and after, where the schedule has a form that is known.
weekly_runs := {when: number |
	some when, document in input.request
	number := scheduled(document.properties)
}

scheduled(properties) := runs(properties.schedulePolicy)

# Of a backup policy of a Backup vault all intervals together. One that is not known here leaves
# the whole without a number.
scheduled(properties) := sum([interval_runs[period(interval)] | some interval in intervals]) if {
	is_array(properties.policyRules)
	intervals := [interval |
		some rule in properties.policyRules
		some interval in rule.trigger.schedule.repeatingTimeIntervals
	]
	every interval in intervals {
		interval_runs[period(interval)]
	}
}

# Of `R/2026-01-01T02:00:00+00:00/P1D`. What is repeated so many times only, as `R1/` is, ends.
period(interval) := parts[2] if {
	parts := split(interval, "/")
	parts[0] == "R"
}

interval_runs := {
	"PT1H": 168, "PT2H": 84, "PT4H": 42, "PT6H": 28, "PT8H": 21, "PT12H": 14,
	"P1D": 7, "P1W": 1,
}

# How often a schedule runs in a week. A form that is not known here has no number.
runs(schedule) := 7 * count(schedule.scheduleRunTimes) if {
	schedule.scheduleRunFrequency == "Daily"
}

runs(schedule) := 7 * count(schedule.dailySchedule.scheduleRunTimes) if {
	schedule.scheduleRunFrequency == "Daily"
}

runs(schedule) := count(schedule.scheduleRunDays) * count(schedule.scheduleRunTimes) if {
	schedule.scheduleRunFrequency == "Weekly"
}

runs(schedule) := count(schedule.weeklySchedule.scheduleRunDays) * count(schedule.weeklySchedule.scheduleRunTimes) if {
	schedule.scheduleRunFrequency == "Weekly"
}

runs(schedule) := 7 * floor(hourly.scheduleWindowDuration / hourly.interval) if {
	schedule.scheduleRunFrequency == "Hourly"
	hourly := schedule.hourlySchedule
	hourly.interval > 0
}

# METADATA
# title: Swap to a weaker backup policy
# description: |
#   An item goes to a backup policy that is ranked lower than its own in
#   `settings.weaken.backup_policies`, or that is not ranked while its own is.
# custom:
#   code: policy-swap-weaker
#   severity: high
#   control: [SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Choose a policy that is ranked at least as high, or have this one ranked.
deny_weaken contains {
	"code": "policy-swap-weaker",
	"message": "the other backup policy keeps less than the one that the item has, or is not ranked; choose one that is ranked at least as high",
	"control": ["SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_weaken",
} if {
	swap := input.request.delta.policy_swapped
	own := policy_rank(swap.from)
	not keeps_rank(swap, own)
}

keeps_rank(swap, own) if within(own, policy_rank(swap.to))

policy_rank(id) := rank if {
	is_string(id)
	some listed, rank in data.vaultgate.settings.weaken.backup_policies
	fold(listed) == fold(id)
}
