# Agents, flows, duties and windows.
package vaultgate_test.rules

import rego.v1

import data.vaultgate_test.request as testing

codes(asked) := testing.codes(decision) if {
	decision := data.vaultgate.decision with input as asked
}

codes_with(asked, settings) := testing.codes(decision) if {
	own := object.union(data.vaultgate.settings, settings)
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as own
}

acting(members) := object.union(testing.principal("agent", ["backup.custodian"]), members)

# Alice, through an agent that a token for her was given to.
through := object.union(testing.custodian, {"person": "alice", "actors": [{"issuer": "i", "subject": "bot"}]})

test_agent_needs_person_denies if {
	every class in ["delete", "weaken", "configure", "undelete", "disclose"] {
		codes(testing.request(acting({}), class, testing.item)) == {"agent-needs-person"}
	}
	nobody := object.union(through, {"person": null})
	codes(testing.request(nobody, "delete", testing.item)) == {"agent-needs-person"}
}

test_agent_needs_person_spares if {
	codes(testing.request(acting({"person": "alice"}), "delete", testing.item)) == set()
	codes(testing.request(through, "delete", testing.item)) == set()
	codes(testing.request(testing.agent, "snapshot", testing.item)) == set()
	codes(testing.request(testing.custodian, "delete", testing.item)) == set()

	# Whose role does not hold it is told so, and nothing of people.
	codes(testing.request(testing.agent, "delete", testing.item)) == {"class-not-granted"}
}

snapshots(who, done) := object.union(
	testing.request(testing.agent, "snapshot", testing.item),
	{"activity": {who: testing.counts({"snapshot": {"1h": done, "24h": done + 200, "30d": done + 200}})}},
)

test_agent_budget_denies if {
	codes(snapshots("agent", 60)) == {"agent-budget"}
	codes(snapshots("person", 120)) == {"agent-budget"}
}

test_agent_budget_spares if {
	codes(snapshots("agent", 59)) == set()
	codes(snapshots("person", 119)) == set()
	human := object.union(snapshots("person", 500), {"principal": testing.operator})
	codes(human) == set()
}

office := [{"days": ["Monday", "Tuesday"], "from": "08:30", "until": "17:00", "zone": "Europe/Berlin"}]

test_agent_hours_denies if {
	# Monday, 04:00 in Berlin.
	codes_with(testing.request(testing.agent, "snapshot", testing.item), {"agents": {"hours": office}}) == {"agent-hours"}
}

test_agent_hours_denies_where_no_hours_are_settled if {
	asked := testing.request(testing.agent, "snapshot", testing.item)
	testing.codes_unsettled("agents/hours", asked) == {"agent-hours"}
	every hours in ["08:30", [], {}] {
		codes_with(asked, {"agents": {"hours": hours}}) == {"agent-hours"}
	}
}

test_agent_hours_spares if {
	at := object.union(testing.request(testing.agent, "snapshot", testing.item), {"now": "2026-11-23T07:30:00Z"})
	codes_with(at, {"agents": {"hours": office}}) == set()
	codes_with(testing.request(testing.operator, "snapshot", testing.item), {"agents": {"hours": office}}) == set()
	codes_with(testing.request(testing.agent, "read", testing.item), {"agents": {"hours": office}}) == set()
}

in_flow(name) := object.union(
	testing.request(testing.flow, "snapshot", testing.item),
	{
		"operation": {"name": "N/backup/action"},
		"resource": {"item": testing.item},
		"flow": {"name": name, "definition_digest": "d", "covers": false},
	},
)

definition(members) := {"nightly": object.union(
	{"operations": ["n/backup/Action"], "resources": [testing.vault]},
	members,
)}

test_flow_not_covered_denies if {
	codes(in_flow("nightly")) == {"flow-not-covered"}
	wrong := [
		{"operations": ["n/restore/action"]}, {"operations": []},
		{"resources": [concat("", [testing.vault, "1"])]}, {"resources": []},
		{"hours": office},
		{"digest": "other"}, {"digest": ""},
		{"targets": []}, {"targets": [{}]}, {"targets": [{"items": []}]},
		{"targets": [{"items": [concat("", [testing.item, "2"])]}]}, {"targets": [{"items": ["*"]}]},
		{"targets": [{"items": [concat("", [testing.vault, "/*"])]}]},
		{"targets": [{"items": [testing.item], "exclude": [testing.item]}]},
		{"targets": [{"items": [testing.item], "exclude": ["/x", upper(testing.item)]}, {"items": ["/x"]}]},
		{"targets": [{"items": [testing.item], "exclude": testing.item}]},
		{"targets": [{"items": [testing.item], "exclude": null}]},
		{"targets": false}, {"digest": false},
	]
	every members in wrong {
		decision := data.vaultgate.decision with input as in_flow("nightly") with data.flows as definition(members)
		testing.codes(decision) == {"flow-not-covered"}
	}
	other := data.vaultgate.decision with input as in_flow("weekly") with data.flows as definition({})
	testing.codes(other) == {"flow-not-covered"}
}

# `*` takes no `;`: what stands between two of them is a name of its own.
test_flow_not_covered_denies_what_only_ends_like_a_name if {
	other := replace(testing.item, "/protectedItems/i", "/protectedItems/vm;a;b;rg;web")
	pattern := replace(testing.item, "/protectedItems/i", "/protectedItems/vm;*;rg;web")
	asked := object.union(in_flow("nightly"), {"resource": {"item": other}})
	named := definition({"targets": [{"items": [pattern]}]})
	decision := data.vaultgate.decision with input as asked with data.flows as named
	testing.codes(decision) == {"flow-not-covered"}
}

# An exclusion leaves out whatever it could mean.
test_flow_not_covered_denies_what_is_left_out_by_a_part if {
	item := replace(testing.item, "/protectedItems/i", "/protectedItems/vm;a;rg;web")
	pattern := replace(testing.item, "/protectedItems/i", "/protectedItems/*")
	asked := object.union(in_flow("nightly"), {"resource": {"item": item}})
	named := definition({"targets": [{"items": [item], "exclude": [pattern]}]})
	decision := data.vaultgate.decision with input as asked with data.flows as named
	testing.codes(decision) == {"flow-not-covered"}
}

# A run that says no digest is none of a definition with an empty one.
test_flow_not_covered_denies_a_digest_that_nobody_said if {
	silent := object.union(in_flow("nightly"), {"flow": {"definition_digest": ""}})
	decision := data.vaultgate.decision with input as silent with data.flows as definition({"digest": ""})
	testing.codes(decision) == {"flow-not-covered"}
}

test_flow_not_covered_spares_names_of_several_parts if {
	item := replace(testing.item, "/protectedItems/i", "/protectedItems/VM;a;rg;web")
	pattern := replace(testing.item, "/protectedItems/i", "/protectedItems/vm;*;rg;w*")
	asked := object.union(in_flow("nightly"), {"resource": {"item": item}})
	named := definition({"targets": [{"items": [pattern]}]})
	decision := data.vaultgate.decision with input as asked with data.flows as named
	testing.codes(decision) == set()
}

# What is no item is none of those that a definition names.
test_flow_not_covered_denies_what_is_no_item if {
	nothing := object.union(in_flow("nightly"), {"resource": {"item": null}})
	named := definition({"targets": [{"items": [testing.item, "*", ""]}]})
	decision := data.vaultgate.decision with input as nothing with data.flows as named
	testing.codes(decision) == {"flow-not-covered"}
	absent := json.remove(in_flow("nightly"), ["resource/item"])
	other := data.vaultgate.decision with input as absent with data.flows as named
	testing.codes(other) == {"flow-not-covered"}
}

test_flow_not_covered_denies_a_flow_without_a_name if {
	every flow in [{}, {"covers": false}, {"name": null}] {
		asked := object.union(testing.request(testing.flow, "snapshot", testing.item), {"flow": flow})
		codes(asked) == {"flow-not-covered"}
	}
}

test_flow_not_covered_spares if {
	covered := data.vaultgate.decision with input as in_flow("nightly") with data.flows as definition({})
	testing.codes(covered) == set()
	right := [
		{"digest": "d"}, {"targets": [{"items": [testing.item]}]},
		{"targets": [{"items": ["/y"]}, {"items": ["/x", upper(testing.item)]}]},
		{"targets": [{"items": [replace(testing.item, "/protectedItems/i", "/protectedItems/*")]}]},
		{"targets": [{"items": [testing.item], "exclude": [concat("", [testing.item, "2"])]}], "digest": "d"},
		{"targets": [{"items": ["/x"], "exclude": [testing.item]}, {"items": [testing.item]}]},
	]
	every members in right {
		decision := data.vaultgate.decision with input as in_flow("nightly") with data.flows as definition(members)
		testing.codes(decision) == set()
	}
	at := object.union(in_flow("nightly"), {"now": "2026-11-23T07:30:00Z"})
	timely := data.vaultgate.decision with input as at with data.flows as definition({"hours": office})
	testing.codes(timely) == set()
	codes(object.union(in_flow("x"), {"flow": {"covers": true}})) == set()
	codes(object.union(in_flow("x"), {"operation": {"class": "read"}})) == set()
}

test_flow_unnamed_denies if {
	custodial := testing.principal("flow", ["backup.custodian"])
	codes(testing.request(custodial, "configure", testing.item)) == {"flow-unnamed"}
}

test_flow_unnamed_denies_where_no_flow_is_told if {
	custodial := testing.principal("flow", ["backup.custodian"])
	testing.codes_without("flow", testing.request(custodial, "configure", testing.item)) == {"flow-unnamed"}
}

test_flow_unnamed_spares if {
	codes(testing.request(testing.flow, "snapshot", testing.item)) == set()
	codes(testing.request(testing.custodian, "configure", testing.item)) == set()
	custodial := testing.principal("flow", ["backup.custodian"])
	named := {"flow": {"name": "x", "definition_digest": "d", "covers": true}}
	codes(object.union(testing.request(custodial, "configure", testing.item), named)) == set()
}

test_duties_conflict_denies if {
	every more in [{"roles": ["backup.custodian", "backup.approver"]}, {"groups": ["backup-approvers"]}] {
		both := object.union(testing.custodian, more)
		codes(testing.request(both, "snapshot", testing.item)) == {"duties-conflict"}
	}
}

# A binding that says no role hides no other.
test_duties_conflict_denies_beside_a_binding_without_a_role if {
	both := testing.principal("human", ["backup.custodian", "backup.approver", "backup.nothing"])
	bindings := object.union(data.vaultgate.bindings, {"role:backup.nothing": [{"scopes": ["/subscriptions/1"]}, {}]})
	decision := data.vaultgate.decision with input as testing.request(both, "snapshot", testing.item)
		with data.vaultgate.bindings as bindings
	testing.codes(decision) == {"duties-conflict"}
	count(decision.grants) > 0
}

test_duties_conflict_spares if {
	approver := testing.principal("human", ["backup.operator", "backup.approver"])
	codes(testing.request(approver, "snapshot", testing.item)) == set()
	both := testing.principal("human", ["backup.custodian", "backup.approver"])
	codes(testing.request(both, "read", testing.item)) == set()
	codes_with(testing.request(both, "snapshot", testing.item), {"duties": []}) == set()
}

test_outside_window_denies if {
	windows := {"windows": {"delete": office}}
	codes_with(testing.custody("delete", {}), windows) == {"outside-window"}
	every now in ["2026-11-23T07:29:59Z", "2026-11-23T16:00:00Z", "2026-11-25T10:00:00Z"] {
		codes_with(testing.custody("delete", {"now": now}), windows) == {"outside-window"}
	}
	codes_with(testing.custody("delete", {}), {"windows": {"delete": []}}) == {"outside-window"}
}

test_outside_window_denies_what_cannot_be_read if {
	day := {"days": ["Monday"], "from": "00:00", "until": "24:00", "zone": "UTC"}
	odd := ["0:00", "8:30", "00:0", "00:60", "24:01", "25:00", "-1:00", "00:00:00", "0000", "x00:00", "00:00x", ""]
	every member in ["from", "until"] {
		every text in odd {
			window := object.union(day, {member: text})
			codes_with(testing.custody("delete", {}), {"windows": {"delete": [window]}}) == {"outside-window"}
		}
	}
	every member in ["days", "from", "until"] {
		window := object.remove(day, [member])
		codes_with(testing.custody("delete", {}), {"windows": {"delete": [window]}}) == {"outside-window"}
	}
}

test_outside_window_spares if {
	windows := {"windows": {"delete": office}}
	codes_with(testing.custody("delete", {"now": "2026-11-24T15:59:59Z"}), windows) == set()
	codes_with(testing.custody("snapshot", {}), windows) == set()
}

test_outside_window_spares_a_whole_day if {
	day := {"days": ["Monday"], "from": "00:00", "until": "24:00", "zone": "UTC"}
	every now in ["2026-11-23T00:00:00Z", "2026-11-23T23:59:59Z"] {
		codes_with(testing.custody("delete", {"now": now}), {"windows": {"delete": [day]}}) == set()
	}
}

freeze := {"freezes": [{
	"from": "2026-11-24T00:00:00Z", "until": "2026-11-25T00:00:00Z",
	"classes": ["delete"], "why": "year end",
}]}

test_change_freeze_denies if {
	every now in ["2026-11-24T00:00:00Z", "2026-11-24T23:59:59Z"] {
		codes_with(testing.custody("delete", {"now": now}), freeze) == {"change-freeze"}
	}
}

frozen(class, now, missing) := decision if {
	asked := testing.custody(class, {"now": now})
	settings := object.union(data.vaultgate.settings, json.remove(freeze, [concat("/", ["freezes/0", missing])]))
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as settings
}

test_change_freeze_denies_what_it_does_not_say if {
	every missing in ["from", "until", "classes", "why"] {
		testing.codes(frozen("delete", "2026-11-24T03:00:00Z", missing)) == {"change-freeze"}
	}
	testing.codes(frozen("delete", "2026-01-01T03:00:00Z", "from")) == {"change-freeze"}
	endless := frozen("delete", "2036-01-01T03:00:00Z", "until")
	contains(testing.message("change-freeze", endless), "until further notice: year end")
	testing.codes(frozen("snapshot", "2026-11-24T03:00:00Z", "classes")) == {"change-freeze"}
	untimed := json.remove(testing.custody("delete", {}), ["now"])
	codes_with(untimed, freeze) == {"change-freeze"}
}

test_change_freeze_spares if {
	codes_with(testing.custody("snapshot", {"now": "2026-11-24T03:00:00Z"}), freeze) == set()
	every now in ["2026-11-23T23:59:59Z", "2026-11-25T00:00:00Z"] {
		codes_with(testing.custody("delete", {"now": now}), freeze) == set()
	}
}

test_change_freeze_spares_what_comes_before_and_after if {
	testing.codes(frozen("delete", "2026-11-25T03:00:00Z", "from")) == set()
	testing.codes(frozen("delete", "2026-11-23T03:00:00Z", "until")) == set()
	testing.codes(frozen("snapshot", "2026-11-25T03:00:00Z", "classes")) == set()
	testing.codes(frozen("snapshot", "2026-11-24T03:00:00Z", "why")) == set()
}

test_approval_unsettled_denies if {
	every class in ["weaken", "delete", "guard", "disclose", "move"] {
		broken := json.remove(data.vaultgate.settings, [concat("/", ["approvals", class])])
		decision := data.vaultgate.decision with input as testing.custody(class, {}) with data.vaultgate.settings as broken
		testing.codes(decision) == {"approval-unsettled"}
		none := {"approvals": {class: {"quorum": 0}}}
		codes_with(testing.custody(class, {}), none) == {"approval-unsettled"}
	}
}

# An obligation of which one member is missing would be none.
test_approval_unsettled_denies_what_is_not_whole if {
	every class in ["weaken", "delete", "guard", "disclose", "move"] {
		terms := [concat("/", ["approvals", class, member]) | some member in ["quorum", "ttl", "cooling_off"]]
		every path in array.concat(terms, ["approvals", "approvers", "duties"]) {
			testing.codes_unsettled(path, testing.custody(class, {})) == {"approval-unsettled"}
		}
	}
	every class in ["snapshot", "configure"] {
		every terms in [{"quorum": 1}, {"quorum": 1, "ttl": "4h"}, {"quorum": 1, "cooling_off": "0s"}, null] {
			codes_with(testing.custody(class, {}), {"approvals": {class: terms}}) == {"approval-unsettled"}
		}
	}
}

test_approval_unsettled_spares if {
	every class in ["weaken", "delete", "guard", "disclose", "move"] {
		codes_with(testing.custody(class, {}), {"approvals": {class: {"quorum": 1}}}) == set()
	}
}

test_approval_unsettled_spares_what_owes_none if {
	every path in ["approvals", "approvers", "duties"] {
		testing.codes_unsettled(path, testing.custody("snapshot", {})) == set()
	}
	whole := {"approvals": {"snapshot": {"quorum": 1, "ttl": "4h", "cooling_off": "0s"}}}
	codes_with(testing.custody("snapshot", {}), whole) == set()
}
