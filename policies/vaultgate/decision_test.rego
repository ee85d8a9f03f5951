package vaultgate_test.decision

import rego.v1

import data.vaultgate_test.request as testing

test_a_granted_request_is_allowed if {
	decision := data.vaultgate.decision with input as testing.request(testing.reader, "read", testing.vault)
	decision.allow == true
	count(decision.deny) == 0
	count(decision.grants) > 0
	decision.obligations == []
}

test_nothing_is_allowed_that_nothing_grants if {
	every class in testing.classes {
		decision := data.vaultgate.decision with input as testing.request(testing.stranger, class, testing.vault)
		decision.allow == false
		count(decision.grants) == 0
		"no-role" in testing.codes(decision)
	}
}

# Were there no reason why nothing grants it, it would be denied all the same.
test_nothing_is_allowed_without_a_grant if {
	asked := testing.request(testing.stranger, "read", testing.vault)
	decision := data.vaultgate.decision with input as asked with data.vaultgate.deny_ungranted as set()
	decision.allow == false
	decision["deny"] == set()
}

test_nothing_is_allowed_that_is_not_told if {
	untold := json.remove(testing.request(testing.reader, "read", testing.vault), ["resource/id"])
	decision := data.vaultgate.decision with input as untold
	decision.allow == false
	count(decision.grants) == 0
	testing.codes(decision) == {"scope-not-bound"}
}

test_a_denial_outweighs_every_grant if {
	asked := testing.request(testing.operator, "snapshot", testing.item)
	unknown := object.union(asked, {"operation": {"body_unknown": ["/properties/new"]}})
	decision := data.vaultgate.decision with input as unknown
	count(decision.grants) > 0
	decision.allow == false
	testing.codes(decision) == {"body-unknown"}
}

test_every_reason_is_complete if {
	every class in testing.classes {
		decision := data.vaultgate.decision with input as testing.request(testing.agent, class, testing.vault)
		every reason in decision.deny {
			object.keys(reason) == {"code", "message", "control", "rule"}
			count(reason.message) > 20
			count(reason.control) > 0
		}
	}
}
