package vaultgate_test

import rego.v1


asked(roles, class, deletes) := {
	"principal": {"roles": roles},
	"operation": {"class": class},
	"activity": {"principal": {"delete": {"24h": deletes}}},
}

test_operators_may_do_everything if {
	every class in ["read", "delete", "weaken", "move", "disclose"] {
		data.vaultgate.decision.allow with input as asked(["backup.operator"], class, 0)
	}
}

test_others_may_do_nothing if {
	not data.vaultgate.decision.allow with input as asked(["backup.reader"], "read", 0)
}

test_the_budget_of_deletes_holds if {
	decision := data.vaultgate.decision with input as asked(["backup.operator"], "delete", 1)
	decision.allow == false
	{reason.code | some reason in decision.deny} == {"delete-budget"}
	data.vaultgate.decision.allow with input as asked(["backup.operator"], "read", 9)
}

test_deletes_that_nobody_counted_are_denied if {
	not data.vaultgate.decision.allow with input as object.remove(asked(["backup.operator"], "delete", 0), ["activity"])
}
