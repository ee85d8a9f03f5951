package vaultgate_test.incident

import rego.v1

landing := "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/landing"

# A reader, who may restore nothing.
asks(class, incident) := {
	"principal": {
		"issuer": "https://idp", "subject": "rita", "kind": "human", "roles": ["backup.reader"],
		"groups": [], "actors": [], "app": null,
	},
	"operation": {"class": class, "body_unknown": []},
	"resource": {
		"id": "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1",
		"subscription": "22222222-2222-2222-2222-222222222222", "resource_group": "rg1",
	},
	"request": {"body": null, "restore": {"kind": "disks", "target": {"resource_group": landing}, "crosses": []}},
	"facts": {"vault": {"status": "ok"}},
	"flow": null,
	"incident": incident,
}

# The same request with another restore.
to(asked, kind, target) := object.union(
	object.remove(asked, ["request"]),
	{"request": {"body": null, "restore": {"kind": kind, "target": target, "crosses": []}}},
)

fast := {"frozen": true, "restore_fast_path": true, "break_glass": null}

glass := {"frozen": false, "restore_fast_path": false, "break_glass": {"id": "1", "person": "rita"}}

test_a_reader_restores_on_the_fast_path_only if {
	not data.vaultgate.decision.allow with input as asks("restore", null)
	not data.vaultgate.decision.allow with input as asks("restore", object.union(fast, {"restore_fast_path": false}))
	data.vaultgate.decision.allow with input as asks("restore", fast)
}

test_the_fast_path_leads_into_the_landing_zones_only if {
	elsewhere := to(asks("restore", fast), "disks", {"resource_group": "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg2"})
	not data.vaultgate.decision.allow with input as elsewhere
	home := to(asks("restore", fast), "original", {})
	not data.vaultgate.decision.allow with input as home
}

test_the_fast_path_is_for_people if {
	every kind in ["agent", "workload", "flow", "unknown"] {
		asked := object.union(asks("restore", fast), {"principal": {"kind": kind}})
		not data.vaultgate.decision.allow with input as asked
	}
	stranger := object.union(asks("restore", fast), {"principal": {"roles": []}})
	not data.vaultgate.decision.allow with input as stranger
}

test_break_glass_opens_restores_in_place_too if {
	home := to(asks("restore", glass), "original", {})
	data.vaultgate.decision.allow with input as home
	data.vaultgate.decision.allow with input as asks("restore", glass)
	not data.vaultgate.decision.allow with input as object.union(home, {"incident": null})
}

# What a restore needs to read, for who has no role at all.
test_break_glass_opens_reads_to_people if {
	every class in ["read", "validate"] {
		asked := object.union(asks(class, glass), {"principal": {"roles": []}})
		data.vaultgate.decision.allow with input as asked
		bot := {"principal": {"actors": [{"issuer": "https://idp", "subject": "bot"}]}}
		not data.vaultgate.decision.allow with input as object.union(asked, bot)
	}
}

test_grants_name_the_incident if {
	on_path := data.vaultgate.decision.grants with input as asks("restore", fast)
	on_path == {{"incident": "restore-fast-path"}}
	opened := data.vaultgate.decision.grants with input as asks("restore", glass)
	opened == {{"incident": "break-glass"}}
}

test_break_glass_leads_nowhere_else if {
	elsewhere := to(asks("restore", glass), "disks", {"resource_group": "/subscriptions/9/resourceGroups/x"})
	not data.vaultgate.decision.allow with input as elsewhere
	every kind in ["agent", "workload", "flow", "unknown"] {
		asked := object.union(asks("restore", glass), {"principal": {"kind": kind}})
		not data.vaultgate.decision.allow with input as asked
	}
	through := object.union(asks("restore", glass), {"principal": {"actors": [{"issuer": "https://idp", "subject": "bot"}]}})
	not data.vaultgate.decision.allow with input as through
}

# Were they told of it, they would still need their roles.
test_nothing_else_rests_on_either if {
	every class in ["weaken", "delete", "guard", "disclose", "move", "configure", "protect", "undelete", "cancel", "snapshot"] {
		every incident in [fast, glass] {
			not data.vaultgate.decision.allow with input as asks(class, incident)
		}
	}
}
