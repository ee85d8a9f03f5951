package vaultgate

import rego.v1

# Who asks does not approve, and neither does whoever could: duties are kept apart by role.

# METADATA
# title: Duties that exclude each other
# description: |
#   Who holds both of two duties that `settings.duties` lists together makes no change: a role
#   that is bound here, or `approver`.
# custom:
#   code: duties-conflict
#   severity: high
#   control: [SOC2 CC6.3, ISO27001 A.5.3, NIST AC-5, MCSB PA-7]
#   remediation: Take one of the two duties from this principal.
deny_change contains {
	"code": "duties-conflict",
	"message": sprintf("one principal holds the duties `%s` and `%s`, which exclude each other; have one of them taken away", pair),
	"control": ["SOC2 CC6.3", "ISO27001 A.5.3", "NIST AC-5", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_change",
} if {
	some pair in data.vaultgate.settings.duties
	every duty in pair {
		duty in duties
	}
}

duties contains role if {
	some binding in bound
	role := binding.role
}

duties contains "approver" if {
	some subject in subjects
	subject in data.vaultgate.settings.approvers
}
