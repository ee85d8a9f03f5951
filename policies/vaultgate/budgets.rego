package vaultgate

import rego.v1

# Counts, budgets, and how messages name them. What nobody told is neither a count of nothing nor
# a budget without end.

# Whether a count leaves room for one more. A count or a budget that is missing is null in here:
# before a comparison with nothing, `not` is not true to every engine.
has_room(document, tally, setting) if {
	below(object.get(document, tally, null), object.get(settled, setting, null))
}

below(done, budget) if {
	within(done, budget)
	done != budget
}

# Whether a count stays within a budget. Both are numbers: null is less than every number, and
# every number is less than text.
within(done, budget) if {
	is_number(done)
	is_number(budget)
	done <= budget
}

# A setting, for a message. Where it is missing the message needs something in its place: without
# a message there would be no denial.
shown(setting) := object.get(settled, setting, "no")

settled := {name: value | some name, value in data.vaultgate.settings}

# METADATA
# title: What remains
# description: |
#   The budgets that the request draws on and what is left of each, before it. It is for clients
#   that plan, and decides nothing; what is not counted or not settled is not told.
budgets contains budget if {
	# Most requests read, and should not pay for the table.
	input.operation.class != "read"
	not without_budget
	some limit in object.get(limits, input.operation.class, [])
	budget := what_remains(limit)
}

# A principal that has not deleted for a month has less.
budgets contains budget if {
	input.operation.class == "delete"
	not deleted_before
	tally := {"of": "principal", "window": "24h", "count": ["delete", "24h"]}
	budget := what_remains(object.union(tally, {"setting": ["delete", "first_day"]}))
}

# Restores in an incident; of everything else the budgets bind as ever.
without_budget if {
	input.operation.class == "restore"
	hurried
}

what_remains(limit) := budget if {
	done := object.get(input.activity, array.concat([limit.of], limit.count), null)
	most := object.get(settled, limit.setting, null)
	is_number(done)
	is_number(most)
	most >= 0
	budget := {
		"of": limit.of,
		"class": input.operation.class,
		"window": limit.window,
		"limit": most,
		"left": max([0, most - done]),
	}
}

# Whose acts of each class are counted, over which time, and against which setting.
limits := {
	"snapshot": [limit |
		agent_acts
		some limit in [
			{"of": "agent", "window": "1h", "count": ["snapshot", "1h"], "setting": ["agents", "snapshots_hour"]},
			{"of": "person", "window": "1h", "count": ["snapshot", "1h"], "setting": ["agents", "person_snapshots_hour"]},
		]
	],
	"restore": by_actor("24h", ["restore", "24h"], ["restore", "day"]),
	"disclose": by_actor("24h", ["disclose", "24h"], ["disclose", "day"]),
	"weaken": [limit |
		some of in ["principal", "person", "vault"]
		limit := {"of": of, "window": "30d", "count": ["items_weakened", "30d"], "setting": ["weaken", "items"]}
	],
	"delete": array.concat(by_actor("24h", ["delete", "24h"], ["delete", "day"]), [
		{"of": "vault", "window": "24h", "count": ["delete", "24h"], "setting": ["delete", "vault_day"]},
		{"of": "estate", "window": "24h", "count": ["delete_share_24h"], "setting": ["delete", "estate_share"]},
	]),
}

by_actor(window, tally, setting) := [limit |
	some of in ["principal", "person", "agent"]
	limit := {"of": of, "window": window, "count": tally, "setting": setting}
]
