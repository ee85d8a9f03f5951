package vaultgate

import rego.v1

# Restores while the house is on fire. The gateway tells policy of these two ways for
# restores and the reads that they need, and for nothing else: what weakens, deletes,
# discloses or moves needs the same people as ever.

# METADATA
# title: Fast path into the landing zones
# description: |
#   While destruction is frozen and enough reviewers want it, a person whom anything binds
#   here may restore into the landing zones, whichever role binds them. Every denial holds.
grants contains {"incident": "restore-fast-path"} if {
	input.operation.class == "restore"
	input.incident.restore_fast_path == true
	input.principal.kind == "human"
	count(bound) > 0
	landed
}

# METADATA
# title: Break-glass
# description: |
#   A reviewer opened restores for this very person, for a time and with a reason: they may
#   restore, and read what a restore needs, in place or into the landing zones. Every denial
#   holds.
grants contains {"incident": "break-glass"} if {
	input.operation.class in {"restore", "read", "validate"}
	is_object(input.incident.break_glass)
	input.principal.kind == "human"
	not agent_acts
}
