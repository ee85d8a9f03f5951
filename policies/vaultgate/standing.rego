package vaultgate

import rego.v1

# Denials for who asks.

# METADATA
# title: Nothing grants it
# description: Why no role grants the request, looked at where none does.
deny contains reason if {
	count(grants) == 0
	some reason in deny_ungranted
}

# METADATA
# title: No role
# description: Nothing binds the principal, its roles or its groups.
# custom:
#   code: no-role
#   severity: low
#   control: [SOC2 CC6.1, ISO27001 A.5.15, NIST AC-3, MCSB PA-7]
#   remediation: Bind a role in `bindings`.
deny_ungranted contains {
	"code": "no-role",
	"message": "you have no role here; ask the owners of the policy to bind one of your roles or groups in `bindings`",
	"control": ["SOC2 CC6.1", "ISO27001 A.5.15", "NIST AC-3", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_ungranted",
} if {
	count(bound) == 0
}

# METADATA
# title: Class not granted
# description: None of the principal's roles may do operations of this class.
# custom:
#   code: class-not-granted
#   severity: medium
#   control: [SOC2 CC6.1, SOC2 CC6.3, ISO27001 A.5.15, NIST AC-6, MCSB PA-7]
#   remediation: Bind a role that may, in `bindings`.
deny_ungranted contains {
	"code": "class-not-granted",
	"message": sprintf(
		"none of your roles (%s) may do operations of class `%s`; ask for a role that may",
		[
			concat(", ", sort({binding.role | some binding in bound})),
			object.get(input, ["operation", "class"], "unknown"),
		],
	),
	"control": ["SOC2 CC6.1", "SOC2 CC6.3", "ISO27001 A.5.15", "NIST AC-6", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_ungranted",
} if {
	count(bound) > 0
	count(able) == 0
}

# METADATA
# title: Scope not bound
# description: A role may do it, but is not bound at or above this resource.
# custom:
#   code: scope-not-bound
#   severity: medium
#   control: [SOC2 CC6.1, SOC2 CC6.3, ISO27001 A.8.3, NIST AC-6, MCSB PA-7]
#   remediation: Bind the role at this resource or above it.
deny_ungranted contains {
	"code": "scope-not-bound",
	"message": sprintf(
		"your roles may do this, but not on `%s`; ask for a binding whose scope is that resource, its resource group or its subscription",
		[object.get(input, ["resource", "id"], "an unnamed resource")],
	),
	"control": ["SOC2 CC6.1", "SOC2 CC6.3", "ISO27001 A.8.3", "NIST AC-6", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_ungranted",
} if {
	count(able) > 0
}

# METADATA
# title: Unknown kind
# description: |
#   The configuration does not say whether a person, a service, an agent or a
#   flow stands behind the principal. It may look, and change nothing.
# custom:
#   code: unknown-kind
#   severity: high
#   control: [SOC2 CC6.1, ISO27001 A.5.16, NIST IA-8, MCSB IM-1]
#   remediation: List the application in `app` of its issuer, in the configuration of the gateway.
deny_change contains {
	"code": "unknown-kind",
	"message": "it is not known what stands behind this token, so it may only read; list its issuer and app in the gateway's configuration",
	"control": ["SOC2 CC6.1", "ISO27001 A.5.16", "NIST IA-8", "MCSB IM-1"],
	"rule": "data.vaultgate.deny_change",
} if {
	not kind_known
}

kind_known if input.principal.kind in {"human", "workload", "agent", "flow"}

# METADATA
# title: A change that is not to be
# description: Denials that only a request which could change something can meet.
deny contains reason if {
	changes
	some reason in deny_change
}

# Whether the request could change anything. A class that is not known could.
changes if not looks

looks if input.operation.class in {"read", "validate"}
