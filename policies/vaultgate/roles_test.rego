package vaultgate_test.roles

import rego.v1

import data.vaultgate_test.request as testing

allowed(who, class, id) if {
	data.vaultgate.decision.allow with input as testing.request(who, class, id)
}

# Everything that each role may do on an item; restores need a target besides.
test_the_classes_of_each_role if {
	expected := {
		"backup.reader": {"read", "validate"},
		"backup.soc": {"read", "validate"},
		"backup.operator": {"read", "validate", "snapshot"},
		"backup.agent": {"read", "validate", "snapshot"},
		"backup.flow": {"read", "validate", "snapshot"},
		"backup.approver": set(),
		"Backup.Reader": set(),
	}
	every role, classes in expected {
		who := testing.principal("human", [role])
		{class | some class in testing.classes; allowed(who, class, testing.item)} == classes
	}
}

test_scopes_hold_what_is_below_them_in_either_case if {
	inside := [
		testing.prod,
		upper(testing.item),
		replace(testing.vault, "/subscriptions/", "/Subscriptions/"),
		"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg1",
	]
	every id in inside {
		allowed(testing.reader, "read", id)
	}
}

test_scopes_hold_nothing_beside_them if {
	outside := [
		concat("", [testing.prod, "2"]),
		concat("", [testing.prod, "2/resourceGroups/rg1"]),
		"/subscriptions/2222",
		"/subscriptions",
		testing.staging,
		concat("", ["/x", testing.prod]),
	]
	every id in outside {
		not allowed(testing.reader, "read", id)
	}
}

test_an_empty_scope_holds_nothing if {
	every scope in ["", "/", "subscriptions"] {
		bindings := {"role:backup.reader": [{"role": "reader", "scopes": [scope]}]}
		asked := testing.request(testing.reader, "read", testing.vault)
		not data.vaultgate.decision.allow with input as asked with data.vaultgate.bindings as bindings
	}
}

test_a_scope_may_end_with_a_slash if {
	bindings := {"role:backup.reader": [{"role": "reader", "scopes": [concat("", [testing.prod, "/"])]}]}
	asked := testing.request(testing.reader, "read", testing.vault)
	data.vaultgate.decision.allow with input as asked with data.vaultgate.bindings as bindings
}

granted(asked) := grants if {
	grants := data.vaultgate.decision.grants with input as asked
}

test_grants_name_role_and_scope if {
	list := object.union(
		testing.request(testing.reader, "read", "/subscriptions/x"),
		{"resource": {"id": "/subscriptions", "subscription": null}},
	)
	granted(list) == {{"role": "reader", "scope": "/"}}
	granted(testing.request(testing.reader, "read", testing.vault)) == {{"role": "reader", "scope": testing.prod}}
	landing := testing.request(testing.operator, "read", testing.staging_account)
	granted(landing) == {{"role": "operator", "scope": testing.staging_account}}
}

test_groups_and_principals_can_be_bound if {
	scopes := [testing.prod]
	in_group := object.union(testing.stranger, {"groups": ["g-1"]})
	every subject, who in {
		"group:g-1": in_group,
		"principal:https://idp.example|s-1": testing.stranger,
	} {
		bindings := {subject: [{"role": "reader", "scopes": scopes}]}
		asked := testing.request(who, "read", testing.vault)
		data.vaultgate.decision.allow with input as asked with data.vaultgate.bindings as bindings
		other := testing.request(object.union(who, {"subject": "s-2", "groups": []}), "read", testing.vault)
		not data.vaultgate.decision.allow with input as other with data.vaultgate.bindings as bindings
	}
}

test_a_role_that_is_no_role_grants_nothing if {
	bindings := {"role:backup.reader": [{"role": "owner", "scopes": [testing.prod]}]}
	every class in testing.classes {
		asked := testing.request(testing.reader, class, testing.vault)
		not data.vaultgate.decision.allow with input as asked with data.vaultgate.bindings as bindings
	}
}

test_reads_without_a_subscription_need_a_role if {
	base := testing.request(testing.reader, "read", "/subscriptions/x")
	list := object.union(base, {"resource": {"id": "/subscriptions", "subscription": null}})
	data.vaultgate.decision.allow with input as list
	not data.vaultgate.decision.allow with input as object.union(list, {"principal": {"roles": []}})
	not data.vaultgate.decision.allow with input as object.union(list, {"operation": {"class": "snapshot"}})
	change := {"principal": testing.operator, "operation": {"class": "snapshot"}}
	not data.vaultgate.decision.allow with input as object.union(list, change)
}

test_the_landing_zone_is_read_by_who_may_restore if {
	allowed(testing.operator, "read", testing.staging_account)
	not allowed(testing.reader, "read", testing.staging_account)
	not allowed(testing.operator, "snapshot", testing.staging_account)
	not allowed(testing.operator, "read", testing.foreign_account)
}
