package vaultgate

import rego.v1

# What each role may do, where it is bound. Classes that are missing here are
# granted to nobody: add them with the rules that keep them safe.
role_classes := {
	"reader": {"read", "validate"},
	"operator": {"read", "validate", "snapshot", "restore"},
	"agent": {"read", "validate", "snapshot"},
	"flow": {"read", "validate", "snapshot"},
	"custodian": {
		"read", "validate", "snapshot", "restore", "undelete", "protect", "configure",
		"cancel", "weaken", "delete", "guard", "disclose", "move",
	},
}

# The names under which the principal can be bound.
subjects contains concat("", ["principal:", input.principal.issuer, "|", input.principal.subject])

subjects contains concat("", ["role:", role]) if some role in input.principal.roles

subjects contains concat("", ["group:", group]) if some group in input.principal.groups

# The bindings of the principal.
bound contains binding if {
	some subject in subjects
	some binding in data.vaultgate.bindings[subject]
}

# The bindings whose role may do what is asked. Not taken from `bound`: only refusals
# need that one.
able contains binding if {
	bindings := data.vaultgate.bindings
	some subject in subjects
	some binding in bindings[subject]
	input.operation.class in role_classes[binding.role]
}

# METADATA
# title: Granted by a role in its scope
# description: A role that is bound at or above the resource grants its classes.
grants contains {"role": role, "scope": scope} if {
	# The resource's id, in lower case and ended: what stands at or under a scope begins
	# with the scope's. The gateway lets no id through that is not ASCII, so that lower
	# case is plain here; ids in a body may hold anything and are compared by `covers`.
	path := concat("", [lower(input.resource.id), "/"])
	some binding in able
	role := binding.role
	some scope in binding.scopes
	stem := concat("", [lower(trim_right(scope, "/")), "/"])
	startswith(path, stem)

	# A scope that is empty or `/` covers nothing, not everything.
	stem != "/"
}

# METADATA
# title: Reads that belong to no subscription
# description: |
#   The list of subscriptions and of a provider's operations: clients read them
#   when they sign in.
grants contains {"role": role, "scope": "/"} if {
	input.operation.class == "read"
	input.resource.subscription == null
	some binding in able
	role := binding.role
}

# METADATA
# title: Reads in the landing zone
# description: Who may restore may look at where the data goes.
grants contains {"role": role, "scope": input.resource.id} if {
	input.operation.class == "read"
	some binding in able
	role := binding.role
	"restore" in role_classes[role]
	is_landing(input.resource.id)
}

# Whether a scope is the resource or stands above it: by whole segments, in
# either case. `/subscriptions/1` does not cover `/subscriptions/11`.
covers(scope, id) if {
	folded := fold(trim_right(scope, "/"))
	startswith(folded, "/")
	startswith(concat("", [fold(id), "/"]), concat("", [folded, "/"]))
}

# Lower case of the letters A to Z and of nothing else: ids that differ in other
# letters are different ids, whatever Unicode makes of them.
fold(text) := strings.replace_n(ascii_letters, text)

ascii_letters := {
	"A": "a", "B": "b", "C": "c", "D": "d", "E": "e", "F": "f", "G": "g",
	"H": "h", "I": "i", "J": "j", "K": "k", "L": "l", "M": "m", "N": "n",
	"O": "o", "P": "p", "Q": "q", "R": "r", "S": "s", "T": "t", "U": "u",
	"V": "v", "W": "w", "X": "x", "Y": "y", "Z": "z",
}
