package vaultgate

import rego.v1

# Restores copy data out: where they go matters as much as who asks.

# METADATA
# title: A restore that is not to be
# description: Denials that only a restore can meet.
deny contains reason if {
	input.operation.class == "restore"
	some reason in deny_restore
}

# METADATA
# title: Restore target not listed
# description: |
#   A restore goes back to where the data came from, or to a storage account or
#   resource group of the landing zone.
# custom:
#   code: restore-target-not-listed
#   severity: critical
#   control: [SOC2 CC6.7, ISO27001 A.8.12, ISO27001 A.8.13]
deny_restore contains {
	"code": "restore-target-not-listed",
	"message": "a restore may go to its original location or to the landing zone; restore there, or have the target listed in `landing`",
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12", "ISO27001 A.8.13"],
	"rule": "data.vaultgate.deny_restore",
} if {
	not in_place
	not landed
}

# METADATA
# title: Restore crosses tenants
# description: The target belongs to another tenant, or nobody can tell.
# custom:
#   code: restore-crosses-tenant
#   severity: critical
#   control: [SOC2 CC6.7, ISO27001 A.8.12]
deny_restore contains {
	"code": "restore-crosses-tenant",
	"message": "the restore leaves the tenant; restore into a subscription of your own tenant",
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12"],
	"rule": "data.vaultgate.deny_restore",
} if {
	"tenant" in input.request.restore.crosses
}

# METADATA
# title: An agent does not restore alone
# description: |
#   Restores are asked for by people, services and flows. An agent, anything of
#   unknown kind, and whoever acts through one, needs a person to ask.
# custom:
#   code: agent-restore-needs-human
#   severity: high
#   control: [SOC2 CC6.1, ISO27001 A.5.3]
deny_restore contains {
	"code": "agent-restore-needs-human",
	"message": "an agent may not restore by itself; have a person with the operator role ask for this restore",
	"control": ["SOC2 CC6.1", "ISO27001 A.5.3"],
	"rule": "data.vaultgate.deny_restore",
} if {
	agent_acts
}

agent_acts if not input.principal.kind in {"human", "workload", "flow"}

# The application that a person signed in with is an actor too; its kind, from the
# configuration, is the principal's. Whoever acts beyond it was not looked at.
agent_acts if {
	some actor in input.principal.actors
	not signed_in_with(actor)
}

signed_in_with(actor) if {
	actor.issuer == input.principal.issuer
	actor.subject == input.principal.app
}

# The data goes back to where it came from.
in_place if {
	input.request.restore.kind == "original"
	not "region" in input.request.restore.crosses
	named_ids_known
	named_urls_known
}

# The data goes to the landing zone: something that the target names is there, and
# whatever else it names is there too, or is the resource group of the source itself,
# where the restored disks may stand beside the machine.
landed if {
	some id in target_ids
	is_landing(id)
	every other in target_ids {
		lands(other)
	}
	named_ids_known
	named_urls_known
}

# Whatever else the request names, under whatever member, is at home or listed.
named_ids_known if {
	every id in ids_in([input.request.restore, input.request.body]) {
		is_known(id)
	}
}

named_urls_known if {
	every url in urls_in([input.request.restore, input.request.body]) {
		is_landing_url(url)
	}
}

target_ids := ids_in(input.request.restore.target)

# Every ARM id and every URL in a document, at any depth.
ids_in(document) := {id |
	some id in regex.find_n(`(?i)/subscriptions/[^"]*`, json.marshal(document), -1)
}

urls_in(document) := {url |
	some url in regex.find_n(`(?i)[a-z][a-z0-9+.-]*:/[^"]*`, json.marshal(document), -1)
}

lands(id) if is_landing(id)

lands(id) if fold(id) == fold(concat("/", ["/subscriptions", input.resource.subscription, "resourceGroups", input.resource.resource_group]))

is_known(id) if covers(concat("/", ["/subscriptions", input.resource.subscription]), id)

is_known(id) if is_landing(id)

is_landing(id) if {
	some account in data.vaultgate.landing.storage_accounts
	fold(account) == fold(id)
}

is_landing(id) if {
	some scope in data.vaultgate.landing.scopes
	covers(scope, id)
}

is_landing_url(url) if {
	some listed in data.vaultgate.landing.urls
	startswith(fold(url), concat("", [fold(trim_right(listed, "/")), "/"]))
}
