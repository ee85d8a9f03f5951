# Budgets that nobody settled, and counts that nobody told: each denies, and says so.
package vaultgate_test.budgets

import rego.v1

import data.vaultgate_test.request as testing

# The decision where a setting has another value.
decided(asked, section, name, value) := decision if {
	settings := object.union(data.vaultgate.settings, {section: {name: value}})
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as settings
}

# Whether a code is not given as it is, and is where the budget is missing or no number, or where
# the count is none.
guards(code, asked, section, name, uncounted) if {
	plain := data.vaultgate.decision with input as asked
	not code in testing.codes(plain)
	code in testing.codes_unsettled(concat("/", [section, name]), asked)
	every value in [null, "99", true] {
		code in testing.codes(decided(asked, section, name, value))
	}
	unknown := data.vaultgate.decision with input as object.union(asked, uncounted)
	code in testing.codes(unknown)
}

# The message of a spent budget: as it is settled, and where it is not.
says(code, asked, section, name, text) if {
	spent := data.vaultgate.decision with input as asked
	shown := sprintf("%v %s", [data.vaultgate.settings[section][name], text])
	contains(testing.message(code, spent), shown)
	settings := json.remove(data.vaultgate.settings, [concat("/", [section, name])])
	unsettled := data.vaultgate.decision with input as asked with data.vaultgate.settings as settings
	contains(testing.message(code, unsettled), concat(" ", ["no", text]))
}

after(class, counts) := testing.custody(class, {"activity": {"principal": counts, "vault": counts}})

deletions(count) := {"delete": {"1h": 0, "24h": count, "30d": count}}

test_delete_budget_denies_without_a_number if {
	uncounted := {"activity": {"principal": {"delete": {"24h": null}}}}
	guards("delete-budget", after("delete", {}), "delete", "day", uncounted)
	says("delete-budget", after("delete", deletions(5)), "delete", "day", "deletions in a day")
}

test_first_destruction_denies_without_a_number if {
	uncounted := {"activity": {"principal": {"delete": {"24h": "0"}}}}
	guards("first-destruction", after("delete", {}), "delete", "first_day", uncounted)
	says("first-destruction", after("delete", deletions(2)), "delete", "first_day", "deletions are allowed on the first day")
}

test_vault_delete_budget_denies_without_a_number if {
	uncounted := {"activity": {"vault": {"delete": {"24h": null}}}}
	guards("vault-delete-budget", after("delete", {}), "delete", "vault_day", uncounted)
	says("vault-delete-budget", after("delete", deletions(10)), "delete", "vault_day", "deletions from one vault")
}

test_estate_share_denies_without_a_number if {
	many := testing.custody("delete", {"activity": {"estate": {"delete_24h": 3, "delete_share_24h": 0.01}}})
	guards("estate-share", many, "delete", "estate_share", {"activity": {"estate": {"delete_share_24h": null}}})
	large := testing.custody("delete", {"activity": {"estate": {"delete_24h": 1, "delete_share_24h": 0.5}}})
	guards("estate-share", large, "delete", "first_day", {"activity": {"estate": {"delete_24h": null}}})
	"estate-share" in testing.codes_without("activity/estate/delete_24h", large)
}

test_delete_across_vaults_denies_without_a_number if {
	uncounted := {"activity": {"principal": {"vaults": 0}}}
	guards("delete-across-vaults", after("delete", {}), "delete", "vaults_hour", uncounted)
}

test_retention_budget_denies_without_a_number if {
	cut := testing.custody("weaken", {"request": {"delta": {"retention_days": -1}}})
	guards("retention-budget", cut, "weaken", "retention_days", {"activity": {"vault": {"retention_days_removed": 0}}})
	more := testing.custody("weaken", {"request": {"delta": {"retention_days": -31}}})
	says("retention-budget", more, "weaken", "retention_days", "days of retention")
}

test_items_weakened_budget_denies_without_a_number if {
	uncounted := {"activity": {"vault": {"items_weakened": {"30d": null}}}}
	guards("items-weakened-budget", after("weaken", {}), "weaken", "items", uncounted)
	says("items-weakened-budget", after("weaken", {"items_weakened": {"30d": 10}}), "weaken", "items", "items may be lowered")
}

restored(count) := object.union(
	testing.restore(testing.operator, "original", {}, []),
	{"activity": {"principal": testing.counts({"restore": {"1h": 0, "24h": count, "30d": count}})}},
)

test_restore_budget_denies_without_a_number if {
	guards("restore-budget", restored(0), "restore", "day", {"activity": {"principal": {"restore": {"24h": null}}}})
	says("restore-budget", restored(20), "restore", "day", "restores in a day")
}

test_disclose_budget_denies_without_a_number if {
	uncounted := {"activity": {"principal": {"disclose": {"24h": null}}}}
	guards("disclose-budget", after("disclose", {}), "disclose", "day", uncounted)
	says("disclose-budget", after("disclose", {"disclose": {"1h": 0, "24h": 5, "30d": 5}}), "disclose", "day", "of these a day")
}

backed_up := object.union(
	testing.request(testing.agent, "snapshot", testing.item),
	{"activity": {"agent": testing.nothing, "person": testing.nothing}},
)

test_agent_budget_denies_without_a_number if {
	uncounted := {who: {"activity": {who: {"snapshot": {"1h": null}}}} | some who in ["agent", "person"]}
	guards("agent-budget", backed_up, "agents", "snapshots_hour", uncounted.agent)
	guards("agent-budget", backed_up, "agents", "person_snapshots_hour", uncounted.person)
	every path in ["activity", "activity/agent", "activity/person", "activity/agent/snapshot", "activity/person/snapshot"] {
		testing.codes_without(path, backed_up) == {"agent-budget"}
	}
}

# Without any counts at all nothing is within a budget.
test_budgets_deny_where_nothing_was_counted if {
	expected := {
		"delete": {
			"delete-budget", "first-destruction", "vault-delete-budget", "estate-share",
			"weakened-then-deleted", "guard-then-deleted", "foothold-then-deleted", "delete-across-vaults",
		},
		"weaken": {"items-weakened-budget"},
		"disclose": {"disclose-budget"},
	}
	every class, codes in expected {
		testing.codes_without("activity", testing.custody(class, {})) == codes
	}
	testing.codes_without("activity", restored(0)) == {"restore-budget"}
	cut := testing.custody("weaken", {"request": {"delta": {"retention_days": -1}}})
	"retention-budget" in testing.codes_without("activity", cut)
	every who in ["principal", "vault"] {
		path := concat("/", ["activity", who])
		testing.codes_without(path, testing.custody("weaken", {})) == {"items-weakened-budget"}
	}
}

# What remains.

remaining(asked) := {[budget.of, budget.class, budget.window, budget.limit, budget.left] |
	decision := data.vaultgate.decision with input as asked
	some budget in decision.budgets
}

test_budgets_tell_what_remains_of_deletions if {
	asked := testing.custody("delete", {"activity": {
		"principal": {"delete": {"1h": 0, "24h": 2, "30d": 9}},
		"person": {"delete": {"1h": 0, "24h": 3, "30d": 9}},
		"vault": {"delete": {"1h": 0, "24h": 99, "30d": 99}},
		"estate": {"delete_share_24h": 0.005},
	}})
	remaining(asked) == {
		["principal", "delete", "24h", 5, 3], ["person", "delete", "24h", 5, 2],
		["vault", "delete", "24h", 10, 0], ["estate", "delete", "24h", 0.02, 0.015],
	}
}

test_budgets_tell_of_the_first_day if {
	asked := testing.custody("delete", {"activity": {"principal": {"delete": {"1h": 0, "24h": 1, "30d": 1}}}})
	some budget in remaining(asked)
	budget == ["principal", "delete", "24h", 2, 1]
}

test_budgets_tell_what_remains_of_other_classes if {
	spent := {"restore": {"24h": 4}, "disclose": {"24h": 4}, "items_weakened": {"30d": 4}}
	activity := {"activity": {"principal": spent, "person": null, "vault": spent}}
	remaining(testing.custody("restore", activity)) == {["principal", "restore", "24h", 20, 16]}
	remaining(testing.custody("disclose", activity)) == {["principal", "disclose", "24h", 5, 1]}
	remaining(testing.custody("weaken", activity)) == {["principal", "weaken", "30d", 10, 6], ["vault", "weaken", "30d", 10, 6]}
	others := {"activity": {"person": spent, "agent": spent}}
	restored := remaining(testing.custody("restore", others))
	["person", "restore", "24h", 20, 16] in restored
	["agent", "restore", "24h", 20, 16] in restored
	["person", "weaken", "30d", 10, 6] in remaining(testing.custody("weaken", others))
}

test_budgets_of_agents_are_told_to_agents if {
	counts := {"snapshot": {"1h": 7}}
	activity := {"activity": {"agent": counts, "person": counts}}
	asked := object.union(testing.request(testing.agent, "snapshot", testing.item), activity)
	remaining(asked) == {["agent", "snapshot", "1h", 60, 53], ["person", "snapshot", "1h", 120, 113]}
	remaining(object.union(testing.request(testing.operator, "snapshot", testing.item), activity)) == set()
}

test_budgets_are_not_told_where_nothing_is_counted_or_settled if {
	asked := testing.custody("restore", {})
	remaining(json.remove(asked, ["activity"])) == set()
	remaining(object.union(asked, {"activity": {"principal": {"restore": {"24h": "4"}}}})) == set()
	settings := json.remove(data.vaultgate.settings, ["restore"])
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as settings
	decision.budgets == set()
}

# A budget of nothing is one, and what is less is none: its rule denies, and nothing is told of it.
test_budgets_below_nothing_are_not_told if {
	asked := testing.custody("restore", {})
	none := decided(asked, "restore", "day", 0)
	some budget in none.budgets
	[budget.of, budget.limit, budget.left] == ["principal", 0, 0]
	less := decided(asked, "restore", "day", -1)
	less.budgets == set()
	fraction := decided(asked, "restore", "day", -0.5)
	fraction.budgets == set()
}

# In an incident restores are not counted against anybody; all else is.
test_budgets_are_not_told_of_restores_in_a_hurry if {
	incident := {"incident": {"frozen": true, "restore_fast_path": true, "break_glass": null}}
	remaining(testing.custody("restore", incident)) == set()
	remaining(testing.custody("weaken", incident)) == remaining(testing.custody("weaken", {}))
	remaining(testing.custody("weaken", incident)) != set()
}
