package vaultgate

import rego.v1

# What other people have to agree to, by class: whatever makes backups fewer or weaker, hands
# out what works without the gateway, or changes who must agree.

default obligations := []

# METADATA
# title: Others approve
# description: |
#   An approval is for one exact request, is given by people other than the one who asks, in
#   time, and is used once. `settings.approvals` says how many, for how long, and how long they
#   have to think better of it.
# custom:
#   code: approval
#   severity: high
#   control: [SOC2 CC6.1, SOC2 CC6.3, ISO27001 A.5.3, ISO27001 A.8.2, NIST AC-3(2), NIST CP-9(7), MCSB PA-7]
#   remediation: Have it approved, and repeat the request with the approval's id.
obligations := [{
	"type": "approval",
	"quorum": terms.quorum,
	"from": data.vaultgate.settings.approvers,
	"ttl": terms.ttl,
	"cooling_off": terms.cooling_off,
}] if {
	terms := data.vaultgate.settings.approvals[input.operation.class]
	allow
}

# METADATA
# title: Nobody said who approves
# description: A class that others must approve, of which the settings do not say how.
# custom:
#   code: approval-unsettled
#   severity: critical
#   control: [SOC2 CC6.3, ISO27001 A.5.3, NIST AC-3(2), MCSB PA-7]
#   remediation: Say in `settings.approvals` how this class is approved.
deny_change contains {
	"code": "approval-unsettled",
	"message": sprintf(
		"the settings do not say how operations of class `%s` are approved; complete `approvals`, `approvers` and `duties`",
		[input.operation.class],
	),
	"control": ["SOC2 CC6.3", "ISO27001 A.5.3", "NIST AC-3(2)", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_change",
} if {
	owes_approval
	not approval_settled
}

owes_approval if input.operation.class in {"weaken", "delete", "guard", "disclose", "move"}

owes_approval if data.vaultgate.settings.approvals[input.operation.class]

# Whether all is there that an approval takes: where one member is missing there is no obligation,
# and without `duties` who asks could approve.
approval_settled if {
	terms := data.vaultgate.settings.approvals[input.operation.class]
	terms.quorum >= 1
	terms.ttl
	terms.cooling_off
	data.vaultgate.settings.approvers
	data.vaultgate.settings.duties
}
