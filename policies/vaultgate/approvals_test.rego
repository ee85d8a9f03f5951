package vaultgate_test.approvals

import rego.v1

import data.vaultgate_test.request as testing

custodian := testing.principal("human", ["backup.custodian"])

# Nothing was done before: rules that count have nothing against it.
decided(who, class) := decision if {
	asked := object.union(
		testing.request(who, class, testing.item),
		{"activity": {"principal": {class: {"24h": 0}}}},
	)
	decision := data.vaultgate.decision with input as asked
}

test_what_cannot_be_undone_needs_two_others if {
	every class in {"weaken", "delete", "guard", "disclose", "move"} {
		decision := decided(custodian, class)
		decision.allow == true
		[obligation] = decision.obligations
		obligation.type == "approval"
		obligation.quorum == 2
		count(obligation.from) > 0
	}
}

test_nothing_else_waits_for_anybody if {
	every class in testing.classes - {"weaken", "delete", "guard", "disclose", "move"} {
		decided(custodian, class).obligations == []
	}
}

test_an_approval_grants_nothing if {
	every who in [testing.operator, testing.agent, testing.reader, testing.stranger] {
		decision := decided(who, "delete")
		decision.allow == false
		decision.obligations == []
	}
}
