package vaultgate_test.standing

import rego.v1

import data.vaultgate_test.request as testing

codes(asked) := testing.codes(decision) if {
	decision := data.vaultgate.decision with input as asked
}

test_no_role_denies if {
	codes(testing.request(testing.stranger, "read", testing.vault)) == {"no-role"}
}

test_no_role_spares_who_has_one if {
	codes(testing.request(testing.reader, "read", testing.vault)) == set()
}

test_class_not_granted_denies if {
	codes(testing.request(testing.operator, "delete", testing.item)) == {"class-not-granted"}
	codes(testing.request(testing.reader, "snapshot", testing.item)) == {"class-not-granted"}
}

test_class_not_granted_denies_a_class_that_is_not_told if {
	asked := testing.request(testing.operator, "snapshot", testing.item)
	testing.codes_without("operation/class", asked) == {"class-not-granted"}
}

test_class_not_granted_spares_what_is_granted if {
	not "class-not-granted" in codes(testing.request(testing.operator, "snapshot", testing.item))
}

test_scope_not_bound_denies if {
	codes(testing.request(testing.operator, "snapshot", testing.staging)) == {"scope-not-bound"}
}

test_scope_not_bound_denies_what_is_not_named if {
	testing.codes_without("resource/id", testing.request(testing.operator, "snapshot", testing.item)) == {"scope-not-bound"}
	testing.codes_without("resource", testing.request(testing.operator, "snapshot", testing.item)) == {"scope-not-bound"}
}

test_scope_not_bound_spares_what_is_in_scope if {
	not "scope-not-bound" in codes(testing.request(testing.operator, "snapshot", testing.item))
}

test_unknown_kind_denies_changes if {
	every kind in ["unknown", "robot", null] {
		who := testing.principal(kind, ["backup.operator"])
		"unknown-kind" in codes(testing.request(who, "snapshot", testing.item))
	}
}

test_unknown_kind_spares_reads_and_known_kinds if {
	codes(testing.request(testing.principal("unknown", ["backup.operator"]), "read", testing.item)) == set()
	every kind in ["human", "workload", "agent", "flow"] {
		who := testing.principal(kind, ["backup.operator"])
		codes(testing.request(who, "snapshot", testing.item)) == set()
	}
}

test_flow_not_covered_denies if {
	asked := testing.request(testing.flow, "snapshot", testing.item)
	every covers in [false, null, "true"] {
		flow := {"name": "nightly", "definition_digest": "sha256:0", "covers": covers}
		codes(object.union(asked, {"flow": flow})) == {"flow-not-covered"}
	}
}

test_flow_not_covered_spares_what_is_covered if {
	asked := testing.request(testing.flow, "snapshot", testing.item)
	codes(asked) == set()
	flow := {"name": "nightly", "definition_digest": "sha256:0", "covers": true}
	codes(object.union(asked, {"flow": flow})) == set()
}
