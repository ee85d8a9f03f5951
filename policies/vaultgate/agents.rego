package vaultgate

import rego.v1

# Denials for agents, and for whatever is treated as one: what is of unknown kind, and whoever
# acts through an actor that nobody looked at (`agent_acts` in `restore.rego`).

# METADATA
# title: An agent needs a person
# description: |
#   Beyond what `settings.agents.classes` lists, an agent acts for a person whom its issuer
#   names, or not at all.
# custom:
#   code: agent-needs-person
#   severity: high
#   control: [SOC2 CC6.1, SOC2 CC6.3, ISO27001 A.5.3, NIST AC-6, MCSB PA-7]
#   remediation: Have the person ask with their own sign-in, or by a token that is exchanged for theirs.
deny_change contains {
	"code": "agent-needs-person",
	"message": "no person stands behind this agent, so it may do no more than back up; have a person ask",
	"control": ["SOC2 CC6.1", "SOC2 CC6.3", "ISO27001 A.5.3", "NIST AC-6", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_change",
} if {
	not free_to_agents
	agent_acts

	# Who has no role for it is told that.
	count(able) > 0
	not person_known
}

free_to_agents if input.operation.class in data.vaultgate.settings.agents.classes

person_known if is_string(input.principal.person)

# METADATA
# title: Budget of an agent
# description: So many backups an hour for one agent, and for all agents of one person.
# custom:
#   code: agent-budget
#   severity: medium
#   control: [SOC2 CC7.2, ISO27001 A.8.6, NIST SC-5, MCSB PA-7]
#   remediation: Wait, or raise `settings.agents.snapshots_hour` or `person_snapshots_hour`.
deny_change contains {
	"code": "agent-budget",
	"message": "this agent, or the person behind it, has spent the backups of the hour; wait",
	"control": ["SOC2 CC7.2", "ISO27001 A.8.6", "NIST SC-5", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_change",
} if {
	agent_acts
	agent_spent
}

# Null is nobody. Who is not, and has no count or no budget, has spent it.
agent_spent if {
	not input.activity.agent == null
	not has_room(input, ["activity", "agent", "snapshot", "1h"], ["agents", "snapshots_hour"])
}

agent_spent if {
	not input.activity.person == null
	not has_room(input, ["activity", "person", "snapshot", "1h"], ["agents", "person_snapshots_hour"])
}

# METADATA
# title: Hours of agents
# description: Agents change nothing outside the hours of `settings.agents.hours`.
# custom:
#   code: agent-hours
#   severity: medium
#   control: [SOC2 CC6.1, ISO27001 A.8.3, NIST AC-2(11), MCSB PA-7]
#   remediation: Wait for the hours of agents.
deny_change contains {
	"code": "agent-hours",
	"message": "agents change nothing at this hour; wait, or have a person ask",
	"control": ["SOC2 CC6.1", "ISO27001 A.8.3", "NIST AC-2(11)", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_change",
} if {
	agent_acts
	not agent_hours
}

# Null is any hour. Hours that nobody settled are none.
agent_hours if data.vaultgate.settings.agents.hours == null

agent_hours if {
	is_array(data.vaultgate.settings.agents.hours)
	open_now(data.vaultgate.settings.agents.hours)
}
