# Requests for the tests of this package. Not loaded to decide.
package vaultgate_test.request

import rego.v1

prod := "/subscriptions/22222222-2222-2222-2222-222222222222"

staging := "/subscriptions/33333333-3333-3333-3333-333333333333"

vault := concat("", [prod, "/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1"])

item := concat("", [vault, "/backupFabrics/Azure/protectionContainers/c/protectedItems/i"])

staging_account := concat("", [
	staging,
	"/resourceGroups/landing/providers/Microsoft.Storage/storageAccounts/stagingsa",
])

foreign_account := "/subscriptions/66666666-6666-6666-6666-666666666666/resourceGroups/x/providers/Microsoft.Storage/storageAccounts/y"

classes := {
	"read", "validate", "snapshot", "restore", "protect", "weaken", "delete",
	"undelete", "configure", "guard", "cancel", "disclose", "move",
}

principal(kind, roles) := {
	"issuer": "https://idp.example", "subject": "s-1", "person": null, "kind": kind,
	"tenant": null, "app": null, "roles": roles, "groups": [], "scopes": [],
	"acr": null, "auth_time": null, "actors": [], "bound": "none",
}

operator := principal("human", ["backup.operator"])

reader := principal("human", ["backup.reader"])

agent := principal("agent", ["backup.agent"])

flow := principal("flow", ["backup.flow"])

stranger := principal("human", [])

custodian := principal("human", ["backup.custodian"])

none := {"1h": 0, "24h": 0, "30d": 0}

# Nobody did anything yet.
nothing := object.union(
	{class: none | some class in classes},
	{
		"vaults": {"1h": 0, "24h": 0}, "denied": {"1h": 0, "24h": 0}, "first_in_90d": true,
		"refused": {}, "items_weakened": {"30d": 0}, "retention_days_removed": {"30d": 0},
	},
)

idle := {
	"principal": nothing, "agent": null, "person": null, "vault": nothing,
	"estate": {"delete_24h": 0, "delete_share_24h": 0},
}

# A request that only its principal, class and resource make interesting.
request(who, class, id) := {
	"schema": "vaultgate.input/1", "now": "2026-11-23T03:00:00.000Z",
	"principal": who,
	"operation": {
		"name": "Microsoft.RecoveryServices/vaults/x/action", "class": class,
		"method": "POST", "api_version": "2026-08-01", "reversible": true,
		"body_unknown": [],
	},
	"resource": {
		"id": id, "subscription": split(id, "/")[2], "resource_group": "rg1",
		"vault": vault, "type": "Microsoft.RecoveryServices/vaults", "item": null, "workload": null,
		"region": "westeurope", "tags": {},
	},
	"request": {"body": null, "before": null, "delta": {}, "restore": null},
	"facts": {
		"vault": {"status": "ok", "soft_delete": "AlwaysON"}, "item": {"status": "unavailable"},
		"estate": {"status": "unavailable"},
	},
	"activity": idle, "flow": null, "approval": null, "incident": null, "preflight": false,
	"claimed": {}, "transport": {"remote": "192.0.2.1", "tls": "1.3", "http": "2"},
}

# A restore of a kind to a target.
restore(who, kind, target, crosses) := object.union(
	request(who, "restore", item),
	{"request": {"restore": {"kind": kind, "target": target, "crosses": crosses}}},
)

# The same with a body.
restore_with(who, kind, target, body) := object.union(
	restore(who, kind, target, []),
	{"request": {"body": body}},
)

# A request of a custodian, with some of its members replaced.
custody(class, members) := object.union(request(custodian, class, item), members)

# Counts of one subject, with some replaced.
counts(members) := object.union(nothing, members)

# The codes of a decision's denials.
codes(decision) := {reason.code | some reason in decision.deny}

# The codes that a request meets without one of its members.
codes_without(path, asked) := codes(decision) if {
	decision := data.vaultgate.decision with input as json.remove(asked, [path])
}

# The codes that it meets without one of the settings.
codes_unsettled(path, asked) := codes(decision) if {
	settings := json.remove(data.vaultgate.settings, [path])
	decision := data.vaultgate.decision with input as asked with data.vaultgate.settings as settings
}

# The message of a denial.
message(code, decision) := reason.message if {
	some reason in decision.deny
	reason.code == code
}
