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
}

snapshots(who, done) := object.union(
	testing.request(testing.agent, "snapshot", testing.item),
	{"activity": {who: testing.counts({"snapshot": {"1h": done, "24h": done, "30d": done}})}},
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
	]
	every members in wrong {
		decision := data.vaultgate.decision with input as in_flow("nightly") with data.flows as definition(members)
		testing.codes(decision) == {"flow-not-covered"}
	}
	other := data.vaultgate.decision with input as in_flow("weekly") with data.flows as definition({})
	testing.codes(other) == {"flow-not-covered"}
}

test_flow_not_covered_spares if {
	covered := data.vaultgate.decision with input as in_flow("nightly") with data.flows as definition({})
	testing.codes(covered) == set()
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

test_outside_window_spares if {
	windows := {"windows": {"delete": office}}
	codes_with(testing.custody("delete", {"now": "2026-11-24T15:59:59Z"}), windows) == set()
	codes_with(testing.custody("snapshot", {}), windows) == set()
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

test_change_freeze_spares if {
	codes_with(testing.custody("snapshot", {"now": "2026-11-24T03:00:00Z"}), freeze) == set()
	every now in ["2026-11-23T23:59:59Z", "2026-11-25T00:00:00Z"] {
		codes_with(testing.custody("delete", {"now": now}), freeze) == set()
	}
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

test_approval_unsettled_spares if {
	every class in ["weaken", "delete", "guard", "disclose", "move"] {
		codes_with(testing.custody(class, {}), {"approvals": {class: {"quorum": 1}}}) == set()
	}
}
