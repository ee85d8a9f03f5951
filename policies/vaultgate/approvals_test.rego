package vaultgate_test.approvals

import rego.v1

import data.vaultgate_test.request as testing

decided(who, class) := decision if {
	decision := data.vaultgate.decision with input as testing.request(who, class, testing.item)
}

test_what_cannot_be_undone_needs_two_others if {
	every class in {"weaken", "delete", "guard", "disclose", "move"} {
		decision := decided(testing.custodian, class)
		decision.allow == true
		[obligation] = decision.obligations
		obligation.type == "approval"
		obligation.quorum == 2
		count(obligation.from) > 0
		terms := data.vaultgate.settings.approvals[class]
		obligation.ttl == terms.ttl
		obligation.cooling_off == terms.cooling_off
	}
}

test_nothing_else_waits_for_anybody if {
	every class in testing.classes - {"weaken", "delete", "guard", "disclose", "move"} {
		decided(testing.custodian, class).obligations == []
	}
}

test_an_approval_grants_nothing if {
	every who in [testing.operator, testing.agent, testing.reader, testing.stranger] {
		decision := decided(who, "delete")
		decision.allow == false
		decision.obligations == []
	}
}
