package vaultgate_test.weakening

import rego.v1

import data.vaultgate_test.request as testing

codes(asked) := testing.codes(decision) if {
	decision := data.vaultgate.decision with input as asked
}

# With some of the settings replaced.
codes_with(asked, settings) := testing.codes(decision) if {
	own := object.union(data.vaultgate.settings, settings)
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as own
}

lowered(path) := testing.custody("weaken", {"request": {"delta": {"lowered": {path: {"from": "x", "to": "y"}}}}})

named(name) := testing.custody("weaken", {"operation": {"name": concat("", ["Microsoft.RecoveryServices/vaults/", name])}})

cut(days) := {"request": {"delta": {"retention_days": 0 - days}}}

# Refused as it is, and let through where the settings list it.
refuses(code, path) if codes(lowered(path)) == {code}

spares(protection, path) if codes_with(lowered(path), {"weaken": {"allowed": [protection]}}) == set()

test_soft_delete_lowered_denies if refuses("soft-delete-lowered", "properties.softDeleteFeatureState")

test_soft_delete_lowered_spares if spares("soft-delete", "properties.softDeleteFeatureState")

test_immutability_lowered_denies if refuses("immutability-lowered", "properties.securitySettings.immutabilitySettings.state")

test_immutability_lowered_spares if spares("immutability", "properties.securitySettings.immutabilitySettings.state")

test_guard_unmapped_denies if refuses("guard-unmapped", "properties.securitySettings.multiUserAuthorization")

test_guard_unmapped_spares if spares("guard", "properties.securitySettings.multiUserAuthorization")

test_redundancy_lowered_denies if refuses("redundancy-lowered", "properties.storageModelType")

test_redundancy_lowered_spares if spares("redundancy", "properties.storageModelType")

test_encryption_changed_denies if refuses("encryption-changed", "properties.encryption")

test_encryption_changed_spares if spares("encryption", "properties.encryption")

test_vault_exposed_denies if refuses("vault-exposed", "properties.publicNetworkAccess")

test_vault_exposed_spares if spares("exposure", "properties.publicNetworkAccess")

forms := {
	"soft-delete": [
		"properties.softDeleteFeatureState", "properties.enhancedSecurityState",
		"properties.softDeleteRetentionPeriodInDays",
		"properties.securitySettings.softDeleteSettings.softDeleteState",
		"properties.securitySettings.softDeleteSettings.enhancedSecurityState",
		"properties.securitySettings.softDeleteSettings.state",
		"properties.securitySettings.softDeleteSettings.softDeleteRetentionPeriodInDays",
		"properties.securitySettings.softDeleteSettings.retentionDurationInDays",
	],
	"immutability": ["properties.securitySettings.immutabilitySettings.state"],
	"guard": ["properties.securitySettings.multiUserAuthorization"],
	"redundancy": [
		"properties.storageModelType", "properties.storageType", "properties.storageSettings",
		"properties.redundancySettings.standardTierStorageRedundancy",
	],
	"encryption": ["properties.encryption", "properties.securitySettings.encryptionSettings"],
}

test_every_form_of_a_protection_is_one if {
	every protection, paths in forms {
		every path in paths {
			count(codes(lowered(path))) == 1
			spares(protection, path)
		}
	}
}

test_operations_that_lower_by_their_name if {
	codes(named("backupResourceGuardProxies/delete")) == {"guard-unmapped"}
	codes(named("backupResourceGuardProxies/write")) == {"guard-unmapped"}
	codes(named("backupEncryptionConfigs/write")) == {"encryption-changed"}
	codes(named("backupFabrics/protectionContainers/protectedItems/write")) == set()
}

test_other_classes_are_not_looked_at if {
	every class in {"configure", "protect", "delete"} {
		asked := testing.custody(class, {"request": {"delta": {"lowered": {"properties.encryption": {}}, "retention_days": -99}}})
		codes(asked) == set()
	}
}

test_vault_exposed_names_what_it_is if {
	asked := lowered("properties.publicNetworkAccess")
	some reason in data.vaultgate.decision["deny"] with input as asked
	contains(reason.message, "properties.publicNetworkAccess")
}

test_retention_budget_denies_one_cut_and_many if {
	codes(testing.custody("weaken", cut(31))) == {"retention-budget"}
	every who in ["principal", "vault", "person"] {
		before := {"activity": {who: testing.counts({"retention_days_removed": {"30d": 29}})}}
		codes(testing.custody("weaken", object.union(cut(2), before))) == {"retention-budget"}
	}
	spent := {"activity": {"vault": testing.counts({"retention_days_removed": {"30d": 30}})}}
	codes(testing.custody("weaken", object.union(cut(1), spent))) == {"retention-budget"}
	untold := json.remove(testing.custody("weaken", cut(2)), ["activity/vault/retention_days_removed"])
	codes(untold) == {"retention-budget"}
}

test_retention_budget_spares_what_is_within_and_what_is_longer if {
	codes(testing.custody("weaken", cut(30))) == set()
	before := {"activity": {"vault": testing.counts({"retention_days_removed": {"30d": 28}})}}
	codes(testing.custody("weaken", object.union(cut(2), before))) == set()
	codes(testing.custody("weaken", cut(-90))) == set()
	spent := {"activity": {"vault": testing.counts({"retention_days_removed": {"30d": 31}})}}
	codes(testing.custody("weaken", object.union(cut(0), spent))) == set()
}

test_items_weakened_budget_denies if {
	every who in ["principal", "vault", "person"] {
		asked := testing.custody("weaken", {"activity": {who: testing.counts({"items_weakened": {"30d": 10}})}})
		codes(asked) == {"items-weakened-budget"}
	}
	untold := json.remove(testing.custody("weaken", {}), ["activity/vault/items_weakened"])
	codes(untold) == {"items-weakened-budget"}
}

test_items_weakened_budget_spares if {
	codes(testing.custody("weaken", {"activity": {"vault": testing.counts({"items_weakened": {"30d": 9}})}})) == set()
}

rescheduled(before, after) := testing.custody("weaken", {"request": {
	"delta": {"schedule_changed": true},
	"before": {"properties": {"schedulePolicy": before}},
	"body": {"properties": {"schedulePolicy": after}},
}})

daily(times) := {"scheduleRunFrequency": "Daily", "scheduleRunTimes": times}

weekly(days) := {"scheduleRunFrequency": "Weekly", "scheduleRunDays": days, "scheduleRunTimes": ["02:00"]}

hourly(interval) := {
	"scheduleRunFrequency": "Hourly",
	"hourlySchedule": {"interval": interval, "scheduleWindowDuration": 12},
}

daily_v2(times) := {"scheduleRunFrequency": "Daily", "dailySchedule": {"scheduleRunTimes": times}}

weekly_v2(days) := {
	"scheduleRunFrequency": "Weekly",
	"weeklySchedule": {"scheduleRunDays": days, "scheduleRunTimes": ["02:00"]},
}

test_schedule_thinned_denies if {
	thinner := [
		[daily(["02:00"]), weekly(["Sunday"])],
		[daily(["02:00", "14:00"]), daily(["02:00"])],
		[weekly(["Sunday", "Monday"]), weekly(["Sunday"])],
		[hourly(4), hourly(6)],
		[hourly(1), hourly(2)],
		[hourly(4), daily(["02:00"])],
		[daily_v2(["02:00"]), weekly_v2(["Sunday"])],
		[daily_v2(["02:00", "14:00"]), daily_v2(["02:00"])],
		[weekly_v2(["Sunday", "Monday"]), weekly_v2(["Sunday"])],
	]
	every pair in thinner {
		codes(rescheduled(pair[0], pair[1])) == {"schedule-thinned"}
	}
}

test_schedule_thinned_denies_what_nobody_can_count if {
	week := weekly(["Sunday", "Monday"])
	often := hourly(1)
	every known in [daily(["02:00"]), daily_v2(["02:00"]), week, weekly_v2(["Sunday", "Monday"]), hourly(4), hourly(0)] {
		odd := object.union(known, {"scheduleRunFrequency": "Odd"})
		every pair in [[odd, often], [week, odd], [odd, odd]] {
			codes(rescheduled(pair[0], pair[1])) == {"schedule-thinned"}
		}
	}
	codes(rescheduled(hourly(0), often)) == {"schedule-thinned"}
	every path in ["request/before", "request/body", "request/body/properties/schedulePolicy"] {
		testing.codes_without(path, rescheduled(week, often)) == {"schedule-thinned"}
	}
}

intervals(list) := {"properties": {"policyRules": [
	{"objectType": "AzureRetentionRule"},
	{"objectType": "AzureBackupRule", "trigger": {"schedule": {"repeatingTimeIntervals": list}}},
]}}

every_period(periods) := intervals([concat("", ["R/2026-01-01T02:00:00+00:00/", period]) | some period in periods])

redone(before, after) := testing.custody("weaken", {"request": {
	"delta": {"schedule_changed": true}, "before": before, "body": after,
}})

test_schedule_thinned_denies_in_backup_vaults if {
	thinner := [
		[every_period(["P1D"]), every_period(["P1W"])],
		[every_period(["PT4H"]), every_period(["PT6H"])],
		[every_period(["P1D", "P1W"]), every_period(["P1D"])],
		[every_period(["P1D"]), every_period([])],
		[every_period(["P1D"]), every_period(["P1D", "P1Y"])],
		[every_period(["P1Y"]), every_period(["P1D"])],
		[every_period(["P1D"]), {"properties": {}}],
		[every_period(["P1D"]), intervals(["R1/2026-01-01T02:00:00+00:00/P1D"])],
		[every_period(["P1D"]), intervals(["P1D"])],
	]
	every pair in thinner {
		codes(redone(pair[0], pair[1])) == {"schedule-thinned"}
	}
}

test_schedule_thinned_spares_more_runs_in_backup_vaults if {
	every pair in [["P1W", "P1D"], ["P1D", "PT12H"], ["PT12H", "PT8H"], ["PT8H", "PT6H"], ["PT6H", "PT4H"], ["PT4H", "PT2H"], ["PT2H", "PT1H"]] {
		codes(redone(every_period([pair[0]]), every_period([pair[1]]))) == set()
		codes(redone(every_period([pair[1]]), every_period([pair[0]]))) == {"schedule-thinned"}
	}
	codes(redone(every_period(["P1D"]), every_period(["P1D"]))) == set()
}

test_schedule_thinned_names_the_runs_in_backup_vaults if {
	known := {"PT1H": 168, "PT2H": 84, "PT4H": 42, "PT6H": 28, "PT8H": 21, "PT12H": 14, "P1D": 7, "P1W": 1}
	every name, runs in known {
		none := data.vaultgate.decision with input as redone(every_period([name]), every_period([]))
		contains(testing.message("schedule-thinned", none), sprintf("made 0 times a week instead of %d;", [runs]))
	}
}

test_schedule_thinned_names_the_runs if {
	thinner := data.vaultgate.decision with input as rescheduled(daily(["02:00"]), weekly(["Sunday"]))
	contains(testing.message("schedule-thinned", thinner), "made 1 times a week instead of 7;")
	odd := data.vaultgate.decision with input as rescheduled({}, null)
	contains(testing.message("schedule-thinned", odd), "an unknown number of times a week instead of an unknown number;")
}

test_schedule_thinned_spares_more_runs_and_other_times if {
	fine := [
		[weekly(["Sunday"]), daily(["02:00"])],
		[daily(["02:00"]), daily(["03:00"])],
		[daily(["02:00"]), hourly(4)],
		[hourly(2), hourly(1)],
		[weekly_v2(["Sunday"]), daily_v2(["02:00"])],
	]
	every pair in fine {
		codes(rescheduled(pair[0], pair[1])) == set()
	}
	week := weekly(["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"])
	every same in [daily(["02:00"]), daily_v2(["02:00"]), hourly(12)] {
		codes(rescheduled(same, week)) == set()
		codes(rescheduled(week, same)) == set()
	}
	kept := json.remove(rescheduled(daily(["02:00"]), weekly(["Sunday"])), ["request/delta/schedule_changed"])
	codes(kept) == set()
}

ranks := {"weaken": {"backup_policies": {"/p/gold": 90, "/p/silver": 30}}}

swapped(from, to) := testing.custody("weaken", {"request": {"delta": {"policy_swapped": {"from": from, "to": to}}}})

test_policy_swap_weaker_denies if {
	codes_with(swapped("/p/gold", "/p/silver"), ranks) == {"policy-swap-weaker"}
	codes_with(swapped("/P/Gold", "/p/none"), ranks) == {"policy-swap-weaker"}
	codes_with(swapped("/p/silver", null), ranks) == {"policy-swap-weaker"}
	every own in [null, "90", 90] {
		odd := {"weaken": {"backup_policies": {"/p/gold": own, "/p/silver": "91"}}}
		codes_with(swapped("/p/gold", "/p/silver"), odd) == {"policy-swap-weaker"}
	}
	codes_with(swapped("/p/gold", "/p/silver"), {"weaken": {"backup_policies": {"/p/gold": null, "/p/silver": 9}}}) == {"policy-swap-weaker"}
}

test_policy_swap_weaker_spares_stronger_and_unranked if {
	codes_with(swapped("/p/silver", "/p/GOLD"), ranks) == set()
	codes_with(swapped("/p/gold", "/p/gold"), ranks) == set()
	codes_with(swapped("/p/none", "/p/silver"), ranks) == set()
	codes_with(swapped(null, "/p/silver"), ranks) == set()
}
