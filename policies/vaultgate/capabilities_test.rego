package vaultgate_test.capabilities

import rego.v1

import data.vaultgate_test.request as testing

of(who) := classes if {
	classes := data.vaultgate.capabilities with input as {"principal": who}
}

test_capabilities_are_those_of_the_roles if {
	of(testing.reader) == {"read", "validate"}
	of(testing.agent) == {"read", "validate", "snapshot"}
	"delete" in of(testing.custodian)
	of(testing.stranger) == set()
}
