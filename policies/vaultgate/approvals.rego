package vaultgate

import rego.v1

# What two other people have to agree to: whatever makes backups fewer or weaker, hands
# out what works without the gateway, or changes who must agree.
approved_classes := {"weaken", "delete", "guard", "disclose", "move"}

default obligations := []

# METADATA
# title: Two people approve
# description: |
#   An approval is for one exact request, is given by two people other than the one who
#   asks, within four hours, and is used once.
# custom:
#   control: [SOC2 CC6.1, SOC2 CC6.3, ISO27001 A.5.3, ISO27001 A.8.2]
obligations := [{
	"type": "approval",
	"quorum": 2,
	"from": ["group:backup-approvers", "role:backup.approver"],
	"ttl": "4h",
	"cooling_off": "0s",
}] if {
	input.operation.class in approved_classes
	allow
}
