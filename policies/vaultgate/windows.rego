package vaultgate

import rego.v1

# When changes are made: windows by class, and freezes of everything that is listed.

# METADATA
# title: Outside the change window
# description: |
#   A class that `settings.windows` lists is changed within one of its windows only: days of the
#   week, from and until in the local time of a zone.
# custom:
#   code: outside-window
#   severity: medium
#   control: [SOC2 CC8.1, ISO27001 A.8.32, NIST CM-3, MCSB BR-2]
#   remediation: Wait for a window, or have `settings.windows` changed.
deny_change contains {
	"code": "outside-window",
	"message": sprintf("operations of class `%s` wait for their change window", [input.operation.class]),
	"control": ["SOC2 CC8.1", "ISO27001 A.8.32", "NIST CM-3", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_change",
} if {
	windows := data.vaultgate.settings.windows[input.operation.class]
	not open_now(windows)
}

# METADATA
# title: Change freeze
# description: From one moment until another the classes that a freeze lists are not changed.
# custom:
#   code: change-freeze
#   severity: medium
#   control: [SOC2 CC8.1, ISO27001 A.8.32, NIST CM-3, MCSB BR-2]
#   remediation: Wait until the freeze is over, or have `settings.freezes` changed.
deny_change contains {
	"code": "change-freeze",
	"message": sprintf(
		"nothing of class `%s` is changed until %s: %s",
		[
			object.get(input, ["operation", "class"], "unknown"),
			object.get(freeze, "until", "further notice"),
			object.get(freeze, "why", "nobody says why"),
		],
	),
	"control": ["SOC2 CC8.1", "ISO27001 A.8.32", "NIST CM-3", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_change",
} if {
	some freeze in data.vaultgate.settings.freezes
	concerns(freeze)
	not is_to_come(freeze)
	not is_over(freeze)
}

# Whether a freeze is of this class. What it does not say does not weaken it: one that lists no
# classes is of all of them, just as one without times began and goes on.
concerns(freeze) if input.operation.class in freeze.classes

concerns(freeze) if not is_array(object.get(freeze, "classes", null))

is_to_come(freeze) if time.parse_rfc3339_ns(input.now) < time.parse_rfc3339_ns(freeze.from)

is_over(freeze) if time.parse_rfc3339_ns(input.now) >= time.parse_rfc3339_ns(freeze.until)

# Whether one of these windows is open.
open_now(windows) if {
	some window in windows
	local := [time.parse_rfc3339_ns(input.now), window.zone]
	time.weekday(local) in window.days
	[hour, minute, _] := time.clock(local)
	at := (hour * 60) + minute
	at >= minutes(window.from)
	at < minutes(window.until)
}

# Minutes of a day, of `HH:MM`. Other text has none: a window that cannot be read is never open.
minutes(text) := (two_digits(hour) * 60) + two_digits(minute) if {
	regex.match(`^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`, text)
	[hour, minute] := split(text, ":")
}

# No number begins with a zero.
two_digits(text) := to_number(concat("", ["1", text])) - 100
