# For tests only: operators may do everything, and whatever changes something needs an
# approval. Shows what approvals do with requests that can be sent often.
package vaultgate

import rego.v1

decision := {
	"allow": allow,
	"deny": [],
	"grants": grants,
	"obligations": obligations,
}

default allow := false

allow if count(grants) > 0

grants contains {"role": "operator"} if "backup.operator" in input.principal.roles

default obligations := []

obligations := [{
	"type": "approval",
	"quorum": data.vaultgate.quorum,
	"from": ["group:backup-approvers", "role:backup.approver"],
	"ttl": "4h",
	"cooling_off": "0s",
}] if {
	not input.operation.class in {"read", "validate"}
	allow
}
