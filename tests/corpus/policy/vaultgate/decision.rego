# For the corpus only: whoever is known may do everything, so that nothing but the
# gateway's own understanding stands between a hostile request and Azure.
package vaultgate

import rego.v1

decision := {
	"allow": count(grants) > 0,
	"deny": [],
	"grants": grants,
	"obligations": [],
}

grants contains {"role": role} if {
	some role in input.principal.roles
	role in {"backup.operator", "BackupAgent"}
}
