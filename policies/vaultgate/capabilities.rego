package vaultgate

import rego.v1

# METADATA
# title: What a principal could do somewhere
# description: |
#   The classes that a role of the principal grants in some scope, from data alone. It is asked for
#   discovery and decides nothing.
capabilities contains class if {
	some binding in bound
	some class in role_classes[binding.role]
}
