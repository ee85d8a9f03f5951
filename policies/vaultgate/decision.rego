# METADATA
# title: Vaultgate starter policy
# description: |
#   Denied by default. A request goes on if at least one role of the principal
#   grants it and no rule denies it. Each rule that denies names its code, its
#   controls and what would change the answer.
package vaultgate

import rego.v1

# METADATA
# title: Entry point
# description: The one rule that the gateway evaluates.
# entrypoint: true
decision := {
	"allow": allow,
	"deny": deny,
	"grants": grants,
	"obligations": obligations,
	"budgets": budgets,
}

default allow := false

allow if {
	count(grants) > 0
	count(deny) == 0
}
