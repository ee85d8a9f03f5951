package vaultgate

import rego.v1

# Flows do what their reviewed definition says, for the resources that it names, and nothing
# else. Definitions stand in the bundle under `data.flows`, by name.

# METADATA
# title: Flow not covered
# description: The reviewed definition of the flow does not contain this request.
# custom:
#   code: flow-not-covered
#   severity: high
#   control: [SOC2 CC8.1, ISO27001 A.8.32, NIST CM-3, MCSB BR-1]
#   remediation: Have a definition reviewed that names this resource and operation.
deny_change contains {
	"code": "flow-not-covered",
	"message": sprintf(
		"the reviewed definition of the flow `%s` does not contain this request; have the definition reviewed with it",
		[object.get(input.flow, "name", "without a name")],
	),
	"control": ["SOC2 CC8.1", "ISO27001 A.8.32", "NIST CM-3", "MCSB BR-1"],
	"rule": "data.vaultgate.deny_change",
} if {
	input.flow != null
	not flow_covered
}

flow_covered if input.flow.covers == true

# The definition is the one that was reviewed; it names the operation, the resource or something
# above it, and the item; and its hours are now.
flow_covered if {
	definition := data.flows[input.flow.name]
	reviewed(definition)
	some operation in definition.operations
	lower(operation) == lower(input.operation.name)
	listed_in(definition.resources, input.resource.id)
	names_item(definition)
	in_hours(definition)
}

# What the run says of itself can only take away: a definition that was changed since its review
# covers nothing. One that is written by hand may name no digest; an empty one is none of a run.
reviewed(definition) if object.get(definition, "digest", null) == null

reviewed(definition) if {
	definition.digest != ""
	definition.digest == input.flow.definition_digest
}

# Items by patterns of their ids, in which `*` stands for any letters but `/` and `;`.
names_item(definition) if object.get(definition, "targets", null) == null

names_item(definition) if {
	is_array(definition.targets)
	some target in definition.targets
	some pattern in target.items
	is_named(pattern)
	not left_out(target)
}

# What one target leaves out, another one may name. What is left out is so however many parts its
# name has: here `*` stands for `;` as well.
left_out(target) if {
	is_array(target.exclude)
	some pattern in target.exclude
	is_like(pattern)
}

# An exclusion that cannot be read leaves everything out.
left_out(target) if not is_array(object.get(target, "exclude", []))

is_named(pattern) if {
	is_like(pattern)

	# Names are parted by `;` as well, which `*` would take.
	count(split(pattern, ";")) == count(split(input.resource.item, ";"))
}

is_like(pattern) if {
	item := input.resource.item
	is_string(item)
	glob.match(lower(pattern), ["/"], lower(item))
}

in_hours(definition) if not definition.hours

in_hours(definition) if open_now(definition.hours)

# METADATA
# title: A flow without a name
# description: What signs in as a flow and names none has no reviewed definition.
# custom:
#   code: flow-unnamed
#   severity: high
#   control: [SOC2 CC8.1, ISO27001 A.8.32, NIST CM-3, MCSB BR-1]
#   remediation: Have the issuer name the flow in the claim that `claims.flow` says.
deny_change contains {
	"code": "flow-unnamed",
	"message": "this flow names no reviewed definition, so it may do no more than back up; have its issuer name it",
	"control": ["SOC2 CC8.1", "ISO27001 A.8.32", "NIST CM-3", "MCSB BR-1"],
	"rule": "data.vaultgate.deny_change",
} if {
	input.principal.kind == "flow"
	object.get(input, "flow", null) == null
	input.operation.class != "snapshot"
}
