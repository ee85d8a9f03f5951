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
	not input.operation.class in data.vaultgate.settings.agents.classes
	agent_acts

	# Who has no role for it is told that.
	count(able) > 0
	not is_string(input.principal.person)
}

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
	some spent in agent_spent
	not spent.done < spent.budget
}

agent_spent contains {
	"done": input.activity.agent.snapshot["1h"],
	"budget": data.vaultgate.settings.agents.snapshots_hour,
}

agent_spent contains {
	"done": input.activity.person.snapshot["1h"],
	"budget": data.vaultgate.settings.agents.person_snapshots_hour,
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
	is_array(data.vaultgate.settings.agents.hours)
	agent_acts
	not open_now(data.vaultgate.settings.agents.hours)
}
