package vaultgate.decision_test

import rego.v1

import data.vaultgate

test_the_known_may_do_everything if {
	every role in ["backup.operator", "BackupAgent"] {
		vaultgate.decision.allow with input as {"principal": {"roles": [role]}}
	}
}

test_without_a_role_nothing_goes if {
	vaultgate.decision.allow == false with input as {"principal": {"roles": []}}
}
