package vaultgate

import rego.v1

# Counts, budgets, and how messages name them. What nobody told is neither a count of nothing nor
# a budget without end.

# Whether a count leaves room for one more. A count or a budget that is missing is null in here:
# before a comparison with nothing, `not` is not true to every engine.
has_room(document, counted, setting) if {
	below(object.get(document, counted, null), object.get(settled, setting, null))
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
