# For tests only: operators may do everything, within a budget of deletes. Shows
# what the gateway's own guards do where policy holds nothing back.
package vaultgate

import rego.v1

decision := {
	"allow": allow,
	"deny": deny,
	"grants": grants,
	"obligations": [],
}

default allow := false

allow if {
	count(grants) > 0
	count(deny) == 0
}

grants contains {"role": "operator"} if "backup.operator" in input.principal.roles

# METADATA
# title: Budget of deletes
# description: No more deletes in a day than the budget, those in flight included.
# custom:
#   code: delete-budget
#   severity: high
#   control: [SOC2 CC6.1]
deny contains {
	"code": "delete-budget",
	"message": sprintf(
		"the budget of %d deletes in 24 hours is used up; wait, or have the budget raised",
		[data.vaultgate.budget.delete_24h],
	),
	"control": ["SOC2 CC6.1"],
	"rule": "data.vaultgate.deny",
} if {
	input.operation.class == "delete"
	not within_budget
}

within_budget if input.activity.principal["delete"]["24h"] < data.vaultgate.budget.delete_24h
