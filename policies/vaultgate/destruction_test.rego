package vaultgate_test.destruction

import rego.v1

import data.vaultgate_test.request as testing

codes(asked) := testing.codes(decision) if {
	decision := data.vaultgate.decision with input as asked
}

codes_with(asked, settings) := testing.codes(decision) if {
	own := object.union(data.vaultgate.settings, settings)
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as own
}

# A deletion after what some subject did.
after(who, members) := testing.custody("delete", {"activity": {who: testing.counts(members)}})

# A deletion of which some count was not told.
untold(path) := json.remove(testing.custody("delete", {}), [path])

deleted(hour, day, month) := {"delete": {"1h": hour, "24h": day, "30d": month}}

test_a_deletion_is_allowed_where_nothing_speaks_against_it if {
	data.vaultgate.decision.allow with input as testing.custody("delete", {})
}

test_delete_budget_denies if {
	every who in ["principal", "person", "agent"] {
		codes(after(who, deleted(0, 5, 9))) == {"delete-budget"}
	}
	"delete-budget" in codes(untold("activity/principal/delete"))
}

test_delete_budget_spares if {
	every who in ["principal", "person", "agent"] {
		codes(after(who, deleted(0, 4, 9))) == set()
	}
}

test_first_destruction_denies if {
	codes(after("principal", deleted(0, 2, 2))) == {"first-destruction"}
}

test_first_destruction_denies_where_nobody_told_of_the_month if {
	asked := after("principal", deleted(0, 2, 9))
	testing.codes_without("activity/principal/delete/30d", asked) == {"first-destruction"}
}

test_first_destruction_spares_who_deleted_before_and_the_first if {
	codes(after("principal", deleted(0, 2, 3))) == set()
	codes(after("principal", deleted(1, 1, 1))) == set()
}

test_vault_delete_budget_denies if {
	codes(after("vault", deleted(0, 10, 10))) == {"vault-delete-budget"}
	"vault-delete-budget" in codes(untold("activity/vault/delete"))
}

test_vault_delete_budget_spares if {
	codes(after("vault", deleted(0, 9, 10))) == set()
}

estate(members) := testing.custody("delete", {"activity": {"estate": members}})

test_estate_share_denies if {
	codes(estate({"delete_24h": 3, "delete_share_24h": 0.02})) == {"estate-share"}
	codes(estate({"delete_24h": 3, "delete_share_24h": null})) == {"estate-share"}
	codes(json.remove(estate({"delete_24h": 3}), ["activity/estate/delete_share_24h"])) == {"estate-share"}
}

test_estate_share_spares_a_small_share_and_the_first if {
	codes(estate({"delete_24h": 3, "delete_share_24h": 0.019})) == set()
	codes(estate({"delete_24h": 2, "delete_share_24h": 0.5})) == set()
	codes(estate({"delete_24h": 2, "delete_share_24h": null})) == set()
}

test_estate_share_spares_where_one_of_both_is_known if {
	testing.codes_without("activity/estate/delete_24h", estate({"delete_share_24h": 0.019})) == set()
	testing.codes_unsettled("delete/estate_share", estate({"delete_24h": 2})) == set()
}

of(item, type, soft_delete) := testing.custody("delete", {
	"resource": {"item": item, "type": type},
	"facts": {"vault": {"soft_delete": soft_delete}},
})

rsv := "Microsoft.RecoveryServices/vaults"

holders := [
	[testing.item, "x"], [null, concat("", [rsv, "/backupFabrics/protectionContainers"])],
	[null, rsv], [null, "Microsoft.DataProtection/backupVaults"],
]

test_delete_without_net_denies if {
	every holder in holders {
		every state in ["Disabled", "Off", "", "Invalid"] {
			codes(of(holder[0], holder[1], state)) == {"delete-without-net"}
		}
	}
	unknown := json.remove(of(testing.item, rsv, "On"), ["facts/vault/soft_delete"])
	codes(unknown) == {"delete-without-net"}
}

test_delete_without_net_denies_where_nobody_told_what_it_is if {
	other := concat("", [rsv, "/backupPolicies"])
	every path in ["resource/item", "resource/type"] {
		testing.codes_without(path, of(null, other, "Disabled")) == {"delete-without-net"}
		testing.codes_without(path, of(null, other, "Enabled")) == set()
	}
}

test_delete_without_net_spares if {
	every holder in holders {
		every state in ["Enabled", "On", "AlwaysON", "alwayson"] {
			codes(of(holder[0], holder[1], state)) == set()
		}
	}
	codes(of(null, concat("", [rsv, "/backupPolicies"]), "Disabled")) == set()
}

aged(points) := testing.custody("delete", {
	"resource": {"item": testing.item},
	"facts": {"item": {"status": "ok", "recovery_points": points}},
})

test_last_recovery_points_denies if {
	week := {"delete": {"youngest_days": 7}}
	codes_with(aged({"count": 3, "newest": "2026-11-16T03:00:00Z"}), week) == {"last-recovery-points"}
	codes_with(aged({"count": 3, "newest": "2026-11-23T02:00:00Z"}), week) == {"last-recovery-points"}
	codes_with(testing.custody("delete", {"resource": {"item": testing.item}}), week) == {"last-recovery-points"}
	day := {"delete": {"youngest_days": 1}}
	codes_with(aged({"count": 3, "newest": "2026-11-22T03:00:00Z"}), day) == {"last-recovery-points"}
}

test_last_recovery_points_denies_where_nobody_settled_or_told_it if {
	old := aged({"count": 3, "newest": "2020-01-01T00:00:00Z"})
	testing.codes_unsettled("delete/youngest_days", old) == {"last-recovery-points"}
	young := json.remove(aged({"count": 3, "newest": "2026-11-23T02:00:00Z"}), ["resource/item"])
	codes_with(young, {"delete": {"youngest_days": 7}}) == {"last-recovery-points"}
}

test_last_recovery_points_spares if {
	week := {"delete": {"youngest_days": 7}}
	codes_with(aged({"count": 3, "newest": "2026-11-16T02:59:59.999999999Z"}), week) == set()
	codes_with(aged({"count": 0}), week) == set()
	codes_with(testing.custody("delete", {}), week) == set()
	codes(aged({"count": 3, "newest": "2026-11-23T02:00:00Z"})) == set()
}

test_last_recovery_points_spares_what_is_no_item if {
	testing.codes_unsettled("delete/youngest_days", testing.custody("delete", {})) == set()
	testing.codes_unsettled("delete/youngest_days", aged({"count": 0})) == set()
}

test_weakened_then_deleted_denies if {
	every who in ["principal", "person", "vault"] {
		codes(after(who, {"weaken": {"1h": 0, "24h": 1, "30d": 1}})) == {"weakened-then-deleted"}
	}
	codes(untold("activity/vault/weaken")) == {"weakened-then-deleted"}
}

test_weakened_then_deleted_spares_the_next_day if {
	every who in ["principal", "person", "vault"] {
		codes(after(who, {"weaken": {"1h": 0, "24h": 0, "30d": 4}})) == set()
	}
}

test_guard_then_deleted_denies if {
	every who in ["principal", "person", "vault"] {
		codes(after(who, {"guard": {"1h": 0, "24h": 1, "30d": 1}})) == {"guard-then-deleted"}
	}
	codes(untold("activity/vault/guard")) == {"guard-then-deleted"}
}

test_guard_then_deleted_spares_the_next_day if {
	codes(after("vault", {"guard": {"1h": 0, "24h": 0, "30d": 1}})) == set()
}

test_foothold_then_deleted_denies if {
	every operation in ["Microsoft.Authorization/locks/delete", "microsoft.authorization/roleAssignments/write"] {
		codes(after("principal", {"refused": {operation: 1}})) == {"foothold-then-deleted"}
	}
}

test_foothold_then_deleted_denies_where_nobody_told_of_refusals if {
	codes(untold("activity/principal/refused")) == {"foothold-then-deleted"}
	mixed := {"Microsoft.RecoveryServices/vaults/delete": 3, "Microsoft.Authorization/locks/delete": 1}
	codes(after("principal", {"refused": mixed})) == {"foothold-then-deleted"}
}

test_foothold_then_deleted_spares_other_refusals if {
	codes(after("principal", {"refused": {"Microsoft.RecoveryServices/vaults/delete": 3}})) == set()
}

test_delete_across_vaults_denies if {
	every who in ["principal", "person", "agent"] {
		codes(after(who, {"vaults": {"1h": 2, "24h": 2}})) == {"delete-across-vaults"}
	}
	here := {"activity": {"vault": testing.counts(deleted(1, 1, 3))}}
	codes(object.union(after("principal", {"vaults": {"1h": 3, "24h": 3}}), here)) == {"delete-across-vaults"}
	earlier := {"activity": {"vault": testing.counts(deleted(0, 1, 3))}}
	codes(object.union(after("principal", {"vaults": {"1h": 2, "24h": 2}}), earlier)) == {"delete-across-vaults"}
	codes(untold("activity/principal/vaults")) == {"delete-across-vaults"}
}

test_delete_across_vaults_spares_one_other_and_the_own if {
	codes(after("principal", {"vaults": {"1h": 1, "24h": 9}})) == set()
	here := {"activity": {"vault": testing.counts(deleted(1, 1, 3))}}
	codes(object.union(after("principal", {"vaults": {"1h": 2, "24h": 2}}), here)) == set()
	codes(untold("activity/vault/delete/1h")) == set()
}

test_other_classes_are_not_looked_at if {
	every class in testing.classes - {"delete", "restore", "weaken"} {
		asked := testing.custody(class, {"activity": {"principal": testing.counts(deleted(9, 9, 9))}})
		codes(asked) == set()
	}
}
