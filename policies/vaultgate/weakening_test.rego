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

test_every_form_of_soft_delete_is_one if {
	every path, name in data.vaultgate.protections {
		count(codes(lowered(path))) == 1
		codes_with(lowered(path), {"weaken": {"allowed": [name]}}) == set()
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
	untold := json.remove(testing.custody("weaken", cut(2)), ["activity/vault/retention_days_removed"])
	codes(untold) == {"retention-budget"}
}

test_retention_budget_spares_what_is_within_and_what_is_longer if {
	codes(testing.custody("weaken", cut(30))) == set()
	before := {"activity": {"vault": testing.counts({"retention_days_removed": {"30d": 28}})}}
	codes(testing.custody("weaken", object.union(cut(2), before))) == set()
	codes(testing.custody("weaken", cut(-90))) == set()
}

test_items_weakened_budget_denies if {
	every who in ["principal", "vault", "person"] {
		asked := testing.custody("weaken", {"activity": {who: testing.counts({"items_weakened": {"30d": 10}})}})
		codes(asked) == {"items-weakened-budget"}
	}
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
		[hourly(4), daily(["02:00"])],
		[daily_v2(["02:00"]), weekly_v2(["Sunday"])],
		[daily_v2(["02:00", "14:00"]), daily_v2(["02:00"])],
		[weekly_v2(["Sunday", "Monday"]), weekly_v2(["Sunday"])],
	]
	every pair in thinner {
		codes(rescheduled(pair[0], pair[1])) == {"schedule-thinned"}
	}
}

test_schedule_thinned_spares_more_runs_and_other_times if {
	fine := [
		[weekly(["Sunday"]), daily(["02:00"])],
		[daily(["02:00"]), daily(["03:00"])],
		[daily(["02:00"]), hourly(4)],
		[weekly_v2(["Sunday"]), daily_v2(["02:00"])],
		[{"scheduleRunFrequency": "Odd"}, weekly(["Sunday"])],
		[hourly(0), weekly(["Sunday"])],
	]
	every pair in fine {
		codes(rescheduled(pair[0], pair[1])) == set()
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
}

test_policy_swap_weaker_spares_stronger_and_unranked if {
	codes_with(swapped("/p/silver", "/p/GOLD"), ranks) == set()
	codes_with(swapped("/p/gold", "/p/gold"), ranks) == set()
	codes_with(swapped("/p/none", "/p/silver"), ranks) == set()
	codes_with(swapped(null, "/p/silver"), ranks) == set()
}
