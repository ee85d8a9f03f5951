package vaultgate

import rego.v1

# Denials for what is asked; `deny` takes them over where something could change.

# METADATA
# title: Unknown members in the body
# description: |
#   The body holds members that the catalogue of operations does not know. What
#   they would do is not known either.
# custom:
#   code: body-unknown
#   severity: high
#   control: [SOC2 CC6.1, ISO27001 A.8.26, NIST SI-10, MCSB PA-7]
#   remediation: Leave the members out, or update the gateway.
deny_change contains {
	"code": "body-unknown",
	"message": sprintf(
		"the body holds members that are not known here (%s); leave them out, or use a version of the gateway that knows them",
		[concat(", ", object.get(input, ["operation", "body_unknown"], ["nobody knows which"]))],
	),
	"control": ["SOC2 CC6.1", "ISO27001 A.8.26", "NIST SI-10", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_change",
} if {
	not body_known
}

body_known if count(input.operation.body_unknown) == 0

# METADATA
# title: Facts unavailable
# description: |
#   Azure did not tell how the vault is protected. Changes wait until it does.
#   Snapshots and restores go on: they are what an outage needs.
# custom:
#   code: facts-unavailable
#   severity: high
#   control: [SOC2 CC7.2, ISO27001 A.8.13, NIST AC-3, MCSB BR-2]
#   remediation: Try again in a minute; if it stays, look at `vaultgate doctor`.
deny_change contains {
	"code": "facts-unavailable",
	"message": "the state of the vault could not be read from Azure just now, and this change depends on it; try again in a minute",
	"control": ["SOC2 CC7.2", "ISO27001 A.8.13", "NIST AC-3", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_change",
} if {
	not goes_on_without_facts
	not input.facts.vault.status == "ok"
}

goes_on_without_facts if input.operation.class in {"snapshot", "restore"}
