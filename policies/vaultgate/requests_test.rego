package vaultgate_test.requests

import rego.v1

import data.vaultgate_test.request as testing

codes(asked) := testing.codes(decision) if {
	decision := data.vaultgate.decision with input as asked
}

unknown(class) := object.union(
	testing.request(testing.operator, class, testing.item),
	{"operation": {"body_unknown": ["/properties/new"]}},
)

without_facts(class, status) := object.union(
	testing.request(testing.operator, class, testing.item),
	{"facts": {"vault": {"status": status}}},
)

test_body_unknown_denies_changes if {
	every class in testing.classes - {"read", "validate"} {
		"body-unknown" in codes(unknown(class))
	}
}

test_body_unknown_denies_where_nobody_looked if {
	every class in testing.classes - {"read", "validate"} {
		"body-unknown" in testing.codes_without("operation/body_unknown", unknown(class))
	}
}

test_body_unknown_spares_what_changes_nothing if {
	codes(unknown("read")) == set()
	codes(unknown("validate")) == set()
}

test_facts_unavailable_denies_changes if {
	every class in testing.classes - {"read", "validate", "snapshot", "restore"} {
		"facts-unavailable" in codes(without_facts(class, "unavailable"))
		"facts-unavailable" in codes(without_facts(class, "cached"))
		not "facts-unavailable" in codes(without_facts(class, "ok"))
		"facts-unavailable" in codes(json.remove(without_facts(class, "ok"), ["facts/vault/status"]))
	}
}

test_facts_unavailable_spares_what_an_outage_needs if {
	every class in {"read", "validate", "snapshot", "restore"} {
		not "facts-unavailable" in codes(without_facts(class, "unavailable"))
	}
}
