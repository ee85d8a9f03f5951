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
#   control: [SOC2 CC6.7, ISO27001 A.8.12, ISO27001 A.8.13, NIST AC-4, MCSB BR-2]
#   remediation: Restore to the original location, or have the target listed in `landing`.
deny_restore contains {
	"code": "restore-target-not-listed",
	"message": "a restore may go to its original location or to the landing zone; restore there, or have the target listed in `landing`",
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12", "ISO27001 A.8.13", "NIST AC-4", "MCSB BR-2"],
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
#   control: [SOC2 CC6.7, ISO27001 A.8.12, NIST AC-4, MCSB BR-2]
#   remediation: Restore into a subscription of the own tenant.
deny_restore contains {
	"code": "restore-crosses-tenant",
	"message": "the restore leaves the tenant; restore into a subscription of your own tenant",
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12", "NIST AC-4", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_restore",
} if {
	crosses("tenant")
}

# METADATA
# title: An agent does not restore alone
# description: |
#   Restores are asked for by people, services and flows. An agent, anything of
#   unknown kind, and whoever acts through one, needs a person to ask.
# custom:
#   code: agent-restore-needs-human
#   severity: high
#   control: [SOC2 CC6.1, ISO27001 A.5.3, NIST AC-5, MCSB PA-7]
#   remediation: Have a person with the operator role ask.
deny_restore contains {
	"code": "agent-restore-needs-human",
	"message": "an agent may not restore by itself; have a person with the operator role ask for this restore",
	"control": ["SOC2 CC6.1", "ISO27001 A.5.3", "NIST AC-5", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_restore",
} if {
	agent_acts
}

# METADATA
# title: Restore budget
# description: So many restores a day, for a principal and for the person behind it.
# custom:
#   code: restore-budget
#   severity: high
#   control: [SOC2 CC6.7, ISO27001 A.8.12, NIST SI-4, MCSB BR-2]
#   remediation: Wait, have another operator ask, or raise `settings.restore.day`; in an incident, have break-glass opened.
deny_restore contains {
	"code": "restore-budget",
	"message": sprintf(
		"%v restores in a day are your budget, and are spent; have another operator ask, or a reviewer open break-glass",
		[shown(["restore", "day"])],
	),
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12", "NIST SI-4", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_restore",
} if {
	some who in behind
	not has_room(who, ["restore", "24h"], ["restore", "day"])
	not hurried
}

# Restores in an incident are not counted against anybody.
hurried if is_object(input.incident.break_glass)

hurried if input.incident.restore_fast_path == true

# METADATA
# title: Restore to a region that is not listed
# description: Data stays in the region of its vault, or goes to one that `landing.regions` lists.
# custom:
#   code: restore-region-not-listed
#   severity: high
#   control: [SOC2 CC6.7, ISO27001 A.5.31, ISO27001 A.8.12, NIST CP-9, MCSB DP-2]
#   remediation: Restore in the region of the vault, or have the region listed in `landing.regions`.
deny_restore contains {
	"code": "restore-region-not-listed",
	"message": "the restore leaves the region of its vault for one that is not listed; restore there, or have the region listed in `landing.regions`",
	"control": ["SOC2 CC6.7", "ISO27001 A.5.31", "ISO27001 A.8.12", "NIST CP-9", "MCSB DP-2"],
	"rule": "data.vaultgate.deny_restore",
} if {
	crosses("region")
	not landing_region
}

# Whether the restore crosses a border. Where nobody says what it crosses, it does.
crosses(border) if border in input.request.restore.crosses

crosses(_) if {
	is_object(input.request.restore)
	not is_array(object.get(input, ["request", "restore", "crosses"], null))
}

landing_region if {
	target := input.request.restore.target.region
	is_string(target)
	some region in data.vaultgate.landing.regions
	lower(region) == lower(target)
}

# METADATA
# title: Restore with an identity that is not listed
# description: |
#   An identity that a restore uses, or gives to what is restored, is listed in
#   `landing.identities`: it can be another way to the data.
# custom:
#   code: restore-identity-not-listed
#   severity: high
#   control: [SOC2 CC6.1, ISO27001 A.5.16, NIST AC-6, MCSB IM-3]
#   remediation: Leave the identity out, or have it listed in `landing.identities`.
deny_restore contains {
	"code": "restore-identity-not-listed",
	"message": "the restore names an identity that is not listed; leave it out, or have it listed in `landing.identities`",
	"control": ["SOC2 CC6.1", "ISO27001 A.5.16", "NIST AC-6", "MCSB IM-3"],
	"rule": "data.vaultgate.deny_restore",
} if {
	some id in ids_in([input.request.restore, input.request.body])
	contains(fold(id), "/providers/microsoft.managedidentity/")
	not landing_identity(id)
}

landing_identity(id) if listed_in(data.vaultgate.landing.identities, id)

# METADATA
# title: Restore into a network that is not listed
# description: |
#   What is restored elsewhere comes up in a network that `landing.networks` or
#   `landing.scopes` lists, or in one of the resource group that it comes from.
# custom:
#   code: restore-network-not-listed
#   severity: high
#   control: [SOC2 CC6.6, ISO27001 A.8.22, NIST SC-7, MCSB NS-1]
#   remediation: Restore into a listed network, or have this one listed in `landing.networks`.
deny_restore contains {
	"code": "restore-network-not-listed",
	"message": "the restore goes into a network that is not listed; choose a listed one, or have it listed in `landing.networks`",
	"control": ["SOC2 CC6.6", "ISO27001 A.8.22", "NIST SC-7", "MCSB NS-1"],
	"rule": "data.vaultgate.deny_restore",
} if {
	some id in ids_in([input.request.restore, input.request.body])
	contains(fold(id), "/virtualnetworks/")
	not landing_network(id)
}

landing_network(id) if listed_in(data.vaultgate.landing.networks, id)

landing_network(id) if is_landing(id)

landing_network(id) if covers(home_group, id)

listed_in(scopes, id) if {
	some scope in scopes
	covers(scope, id)
}

# The resource group of the source.
home_group := concat("/", ["/subscriptions", input.resource.subscription, "resourceGroups", input.resource.resource_group])

# What gives data or control away without being a restore.

# METADATA
# title: Disclosure budget
# description: |
#   File recovery scripts, access tokens for another region, security PINs and job exports work
#   without the gateway once they are out.
# custom:
#   code: disclose-budget
#   severity: high
#   control: [SOC2 CC6.7, ISO27001 A.8.12, NIST AC-6, MCSB BR-2]
#   remediation: Wait, have another custodian ask, or raise `settings.disclose.day`.
deny_change contains {
	"code": "disclose-budget",
	"message": sprintf(
		"%v of these a day are your budget, and are spent: what they hand out works without the gateway; wait, or have another custodian ask",
		[shown(["disclose", "day"])],
	),
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12", "NIST AC-6", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_change",
} if {
	input.operation.class == "disclose"
	some who in behind
	not has_room(who, ["disclose", "24h"], ["disclose", "day"])
}

# METADATA
# title: Disclosure or move to what is not listed
# description: Every resource that the request names is of the own subscription, or listed.
# custom:
#   code: target-not-listed
#   severity: critical
#   control: [SOC2 CC6.7, ISO27001 A.8.12, NIST AC-4, MCSB BR-2]
#   remediation: Name a target of the own subscription, or have it listed in `landing`.
deny_change contains {
	"code": "target-not-listed",
	"message": "backups, or the way to them, may go to the own subscription or to what `landing` lists; choose another target, or have it listed",
	"control": ["SOC2 CC6.7", "ISO27001 A.8.12", "NIST AC-4", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_change",
} if {
	input.operation.class in {"disclose", "move"}
	not given_away_to_known
}

given_away_to_known if {
	every id in ids_in([input.request.body]) {
		is_known(id)
	}
	every url in urls_in([input.request.body]) {
		is_landing_url(url)
	}
}

agent_acts if not no_agent

no_agent if input.principal.kind in {"human", "workload", "flow"}

# Nobody says through whom they act.
agent_acts if not input.principal.actors

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
	not crosses("region")
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

lands(id) if fold(id) == fold(home_group)

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
