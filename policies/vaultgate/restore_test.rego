package vaultgate_test.restore

import rego.v1

import data.vaultgate_test.request as testing

codes(asked) := testing.codes(decision) if {
	decision := data.vaultgate.decision with input as asked
}

original := {"resource": null, "storage_account": null, "region": "westeurope"}

to_staging := {"resource": null, "storage_account": testing.staging_account, "region": "westeurope"}

in_place(who) := testing.restore(who, "original", original, [])

home_account := concat("", [testing.prod, "/resourceGroups/rg1/providers/Microsoft.Storage/storageAccounts/sa9"])

test_restores_in_place_are_allowed if {
	data.vaultgate.decision.allow with input as in_place(testing.operator)
	data.vaultgate.decision.allow with input as in_place(testing.custodian)
	near := object.union(original, {"storage_account": home_account})
	data.vaultgate.decision.allow with input as testing.restore(testing.operator, "original", near, ["resource_group"])
}

test_restores_to_the_landing_zone_are_allowed if {
	data.vaultgate.decision.allow with input as testing.restore(testing.operator, "disks", to_staging, ["subscription"])
	group := {"resource_group": concat("", [testing.staging, "/resourceGroups/LANDING"])}
	data.vaultgate.decision.allow with input as testing.restore(testing.operator, "alternate", group, ["subscription"])
	home := {"storage_account": testing.staging_account, "resource_group": concat("", [testing.prod, "/resourceGroups/RG1"])}
	data.vaultgate.decision.allow with input as testing.restore(testing.operator, "disks", home, [])
	files := {"properties": {"url": "https://StagingSA.blob.core.windows.net/restored"}}
	data.vaultgate.decision.allow with input as testing.restore_with(testing.operator, "files", to_staging, files)
}

test_restore_target_not_listed_denies_foreign_targets if {
	targets := [
		{"storage_account": testing.foreign_account},
		{"resource_group": concat("", [testing.prod, "/resourceGroups/rg1"])},
		{"storage_account": home_account},
		{"region": "westeurope"},
		{"note": "landing"},
		{"storage_account": home_account, "resource_group": concat("", [testing.prod, "/resourceGroups/rg1"])},
		{"storage_account": testing.staging_account, "resource_group": concat("", [testing.prod, "/resourceGroups/rg2"])},
		# One listed name does not cover for another that is not.
		object.union(to_staging, {"resource_group": testing.prod}),
		object.union(to_staging, {"deep": [{"virtual_network": testing.foreign_account}]}),
		{},
	]
	every target in targets {
		codes(testing.restore(testing.operator, "alternate", target, [])) == {"restore-target-not-listed"}
	}
}

test_restore_target_not_listed_denies_what_is_not_in_place if {
	every through in [{"storage_account": testing.foreign_account}, {"url": "https://evil.example/"}] {
		target := object.union(original, through)
		codes(testing.restore(testing.operator, "original", target, [])) == {"restore-target-not-listed"}
	}
	codes(testing.restore(testing.operator, "original", original, ["region"])) == {"restore-target-not-listed", "restore-region-not-listed"}
	codes(testing.request(testing.operator, "restore", testing.item)) == {"restore-target-not-listed"}
	every kind in ["unknown", "files", "cross-region", "Original", null] {
		codes(testing.restore(testing.operator, kind, original, [])) == {"restore-target-not-listed"}
	}
}

# Whatever member carries it away: the whole body is looked through.
test_restore_target_not_listed_denies_foreign_names_in_the_body if {
	bodies := [
		{"properties": {"identityBasedRestoreDetails": {"targetStorageAccountId": testing.foreign_account}}},
		{"a": [{"b": upper(testing.foreign_account)}]},
		{"url": "https://evil.blob.core.windows.net/c"},
		{"url": "HTTPS://evil.example"},
		{"url": "https://stagingsa.blob.core.windows.net@evil.example/"},
		{"url": "https://stagingsa.blob.core.windows.net.evil.example/"},
		{"url": concat("", ["https://management.azure.com", testing.foreign_account])},
	]
	every body in bodies {
		codes(testing.restore_with(testing.operator, "original", original, body)) == {"restore-target-not-listed"}
		codes(testing.restore_with(testing.operator, "disks", to_staging, body)) == {"restore-target-not-listed"}
	}
	home := {"properties": {"sourceResourceId": testing.item, "recoveryPointId": "1"}}
	codes(testing.restore_with(testing.operator, "disks", to_staging, home)) == set()
}

test_restore_target_not_listed_denies_where_the_body_is_not_told if {
	every asked in [in_place(testing.operator), testing.restore(testing.operator, "disks", to_staging, [])] {
		codes(asked) == set()
		testing.codes_without("request/body", asked) == {"restore-target-not-listed"}
		testing.codes_without("request/restore", asked) == {"restore-target-not-listed"}
	}
}

test_restore_target_not_listed_spares_other_classes if {
	codes(testing.request(testing.operator, "snapshot", testing.item)) == set()
}

test_restore_crosses_tenant_denies if {
	asked := testing.restore(testing.operator, "disks", to_staging, ["subscription", "tenant"])
	codes(asked) == {"restore-crosses-tenant"}
}

test_restore_crosses_tenant_denies_where_nobody_says_what_it_crosses if {
	untold := testing.codes_without("request/restore/crosses", in_place(testing.operator))
	untold == {"restore-target-not-listed", "restore-crosses-tenant", "restore-region-not-listed"}
	codes(testing.restore(testing.operator, "original", original, null)) == untold
}

test_restore_crosses_tenant_spares_the_own_tenant if {
	codes(testing.restore(testing.operator, "disks", to_staging, ["subscription"])) == set()
}

test_agent_restore_needs_human_denies if {
	every kind in ["agent", "unknown"] {
		"agent-restore-needs-human" in codes(in_place(testing.principal(kind, ["backup.operator"])))
	}
	bot := {"person": "p-1", "actors": [{"issuer": "https://idp.example", "subject": "bot"}]}
	through := object.union(testing.operator, bot)
	codes(in_place(through)) == {"agent-restore-needs-human"}
}

test_agent_restore_needs_human_denies_where_nobody_says_through_whom if {
	"agent-restore-needs-human" in testing.codes_without("principal/actors", in_place(testing.operator))
}

test_agent_restore_needs_human_spares_the_application_one_signed_in_with if {
	cli := {"app": "cli", "actors": [{"issuer": testing.operator.issuer, "subject": "cli"}]}
	codes(in_place(object.union(testing.operator, cli))) == set()
	elsewhere := {"person": "p-1", "app": "cli", "actors": [{"issuer": "https://other.example", "subject": "cli"}]}
	codes(in_place(object.union(testing.operator, elsewhere))) == {"agent-restore-needs-human"}
}

test_agent_restore_needs_human_spares_people_services_and_flows if {
	every kind in ["human", "workload"] {
		codes(in_place(testing.principal(kind, ["backup.operator"]))) == set()
	}
	covered := {"flow": {"name": "drill", "definition_digest": "x", "covers": true}}
	codes(object.union(in_place(testing.principal("flow", ["backup.operator"])), covered)) == set()
}

test_restores_go_on_without_facts if {
	asked := object.union(in_place(testing.operator), {"facts": {"vault": {"status": "unavailable"}}})
	data.vaultgate.decision.allow with input as asked
}

test_only_the_operator_role_restores if {
	every role in ["backup.reader", "backup.agent", "backup.flow", "backup.soc"] {
		codes(in_place(testing.principal("human", [role]))) == {"class-not-granted"}
	}
}

# What a restore into a resource group meets where one scope is listed.
into(group, scope) := testing.codes(decision) if {
	landing := {"scopes": [scope], "storage_accounts": [], "urls": []}
	asked := testing.restore(testing.operator, "alternate", {"resource_group": group}, [])
	decision := data.vaultgate.decision with input as asked with data.vaultgate.landing as landing
}

# The Kelvin sign lower-cases to k, and is another letter all the same: ids in a body
# may hold what ids in a path cannot.
test_only_ascii_letters_have_two_cases if {
	into("/subscriptions/s/resourceGroups/K", "/subscriptions/s/resourceGroups/k") == set()
	into("/subscriptions/s/resourceGroups/\u212a", "/subscriptions/s/resourceGroups/k") == {"restore-target-not-listed"}
	alphabet := "/subscriptions/s/resourceGroups/abcdefghijklmnopqrstuvwxyz"
	into(upper(alphabet), alphabet) == set()
}

test_scopes_of_the_landing_zone_hold_whole_segments if {
	every scope in ["/subscriptions/s", "/subscriptions/s/", "/subscriptions/s/resourceGroups/k"] {
		into("/subscriptions/s/resourceGroups/k", scope) == set()
	}
	every scope in ["", "/", "subscriptions/s", "/subscriptions/s/resourceGroups", "/subscriptions/s/resourceGroups/"] {
		into("/subscriptions/s/resourceGroupsx/k", scope) == {"restore-target-not-listed"}
	}
}

restored(who, day) := object.union(
	in_place(testing.operator),
	{"activity": {who: testing.counts({"restore": {"1h": 0, "24h": day, "30d": day}})}},
)

test_restore_budget_denies if {
	every who in ["principal", "person"] {
		codes(restored(who, 20)) == {"restore-budget"}
	}
	codes(json.remove(in_place(testing.operator), ["activity/principal/restore"])) == {"restore-budget"}
}

test_restore_budget_spares_what_is_within_and_incidents if {
	codes(restored("principal", 19)) == set()
	codes(object.union(restored("principal", 99), {"incident": {"restore_fast_path": true}})) == set()
	codes(object.union(restored("principal", 99), {"incident": {"break_glass": {"id": "1"}}})) == set()
}

abroad(region) := testing.restore(
	testing.operator, "cross-region",
	{"storage_account": testing.staging_account, "region": region}, ["region"],
)

test_restore_region_not_listed_denies if {
	every region in ["eastasia", "", null] {
		codes(abroad(region)) == {"restore-region-not-listed"}
	}
}

test_restore_region_not_listed_spares if {
	codes(abroad("NorthEurope")) == set()
	codes(in_place(testing.operator)) == set()
}

identity := concat("", [testing.prod, "/resourceGroups/rg1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"])

test_restore_identity_not_listed_denies if {
	every body in [{"identityInfo": {"managedIdentityResourceId": identity}}, {"a": [upper(identity)]}] {
		codes(testing.restore_with(testing.operator, "original", original, body)) == {"restore-identity-not-listed"}
	}
	target := object.union(original, {"identity": identity})
	codes(testing.restore(testing.operator, "original", target, [])) == {"restore-identity-not-listed"}
}

test_restore_identity_not_listed_spares if {
	landing := object.union(data.vaultgate.landing, {"identities": [identity]})
	asked := testing.restore_with(testing.operator, "original", original, {"id": upper(identity)})
	decision := data.vaultgate.decision with input as asked with data.vaultgate.landing as landing
	testing.codes(decision) == set()
}

network(group) := concat("", [testing.prod, "/resourceGroups/", group, "/providers/Microsoft.Network/virtualNetworks/n1"])

test_restore_network_not_listed_denies if {
	codes(testing.restore_with(testing.operator, "original", original, {"n": network("rg2")})) == {"restore-network-not-listed"}
	target := object.union(original, {"virtual_network": network("rg2")})
	codes(testing.restore(testing.operator, "original", target, [])) == {"restore-network-not-listed"}
}

test_restore_network_not_listed_spares if {
	codes(testing.restore_with(testing.operator, "original", original, {"n": network("RG1")})) == set()
	there := concat("", [testing.staging, "/resourceGroups/landing/providers/Microsoft.Network/virtualNetworks/n1"])
	codes(testing.restore_with(testing.operator, "original", original, {"n": there})) == set()
	landing := object.union(data.vaultgate.landing, {"networks": [network("rg2")]})
	asked := testing.restore_with(testing.operator, "original", original, {"n": network("rg2")})
	decision := data.vaultgate.decision with input as asked with data.vaultgate.landing as landing
	testing.codes(decision) == set()
}

disclosed(who, day) := testing.custody(
	"disclose",
	{"activity": {who: testing.counts({"disclose": {"1h": 0, "24h": day, "30d": day}})}},
)

test_disclose_budget_denies if {
	every who in ["principal", "person", "agent"] {
		codes(disclosed(who, 5)) == {"disclose-budget"}
	}
	codes(json.remove(testing.custody("disclose", {}), ["activity/principal/disclose"])) == {"disclose-budget"}
}

test_disclose_budget_spares if {
	codes(disclosed("principal", 4)) == set()
	codes(object.union(disclosed("principal", 9), {"operation": {"class": "configure"}})) == set()
}

test_target_not_listed_denies if {
	every class in ["disclose", "move"] {
		every body in [{"to": testing.foreign_account}, {"to": "https://evil.example/x"}] {
			codes(testing.custody(class, {"request": {"body": body}})) == {"target-not-listed"}
		}
	}
}

test_target_not_listed_denies_where_the_body_is_not_told if {
	every class in ["disclose", "move"] {
		testing.codes_without("request/body", testing.custody(class, {})) == {"target-not-listed"}
	}
}

test_target_not_listed_spares if {
	every class in ["disclose", "move"] {
		every body in [null, {"to": testing.item}, {"to": testing.staging_account}, {"u": "https://stagingsa.blob.core.windows.net/c"}] {
			codes(testing.custody(class, {"request": {"body": body}})) == set()
		}
	}
}
