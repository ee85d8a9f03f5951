package vaultgate

import rego.v1

# Denials for what removes data or what holds it. What stands here is refused whoever
# approves it; everything else that deletes, two others have to approve (`approvals.rego`).

# METADATA
# title: A deletion that is not to be
# description: Denials that only a request which deletes can meet.
deny contains reason if {
	input.operation.class == "delete"
	some reason in deny_delete
}

# METADATA
# title: Deletion budget
# description: |
#   So many deletions a day for a principal, for the person behind it under all of their names,
#   and for an agent.
# custom:
#   code: delete-budget
#   severity: critical
#   control: [SOC2 CC7.2, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Wait, have another custodian ask, or raise `settings.delete.day`.
deny_delete contains {
	"code": "delete-budget",
	"message": sprintf(
		"%v deletions in a day are your budget, and are spent; wait, or have another custodian ask",
		[shown(["delete", "day"])],
	),
	"control": ["SOC2 CC7.2", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	some who in behind
	not has_room(who, ["delete", "24h"], ["delete", "day"])
}

# Who acts, by each of the names that are counted. Counts that nobody told are no counts of
# nothing: what is compared with them denies.
behind contains object.get(input, ["activity", "principal"], {})

behind contains input.activity.agent if is_object(input.activity.agent)

behind contains input.activity.person if is_object(input.activity.person)

# METADATA
# title: First destruction
# description: |
#   A principal that has not deleted for a month gets a smaller budget for its first day. A
#   stolen credential is mostly used for what its owner never did.
# custom:
#   code: first-destruction
#   severity: high
#   control: [SOC2 CC7.2, ISO27001 A.8.16, NIST AC-6, MCSB BR-2]
#   remediation: Wait a day, have another custodian ask, or raise `settings.delete.first_day`.
deny_delete contains {
	"code": "first-destruction",
	"message": sprintf(
		"%v deletions are allowed on the first day that you delete, and are spent; wait a day, or have another custodian ask",
		[shown(["delete", "first_day"])],
	),
	"control": ["SOC2 CC7.2", "ISO27001 A.8.16", "NIST AC-6", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	not deleted_before
	not has_room(input, ["activity", "principal", "delete", "24h"], ["delete", "first_day"])
}

deleted_before if input.activity.principal["delete"]["30d"] > input.activity.principal["delete"]["24h"]

# METADATA
# title: Deletions from one vault
# description: So many deletions from one vault a day, whoever asks.
# custom:
#   code: vault-delete-budget
#   severity: critical
#   control: [SOC2 CC7.2, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Wait, or raise `settings.delete.vault_day`.
deny_delete contains {
	"code": "vault-delete-budget",
	"message": sprintf(
		"%v deletions from one vault in a day are the budget of all, and are spent; wait",
		[shown(["delete", "vault_day"])],
	),
	"control": ["SOC2 CC7.2", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	not has_room(input, ["activity", "vault", "delete", "24h"], ["delete", "vault_day"])
}

# METADATA
# title: Share of the estate
# description: |
#   Whoever deletes, together they delete no more than this share of all protected items in a
#   day. One deletion is always within it; where the estate was not counted, no second one is.
# custom:
#   code: estate-share
#   severity: critical
#   control: [SOC2 CC7.2, SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Wait, list the subscriptions in `facts.estate_subscriptions`, or raise `settings.delete.estate_share`.
deny_delete contains {
	"code": "estate-share",
	"message": "so large a share of all protected items is not deleted in one day; wait",
	"control": ["SOC2 CC7.2", "SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	not few_deleted
	not has_room(input, ["activity", "estate", "delete_share_24h"], ["delete", "estate_share"])
}

few_deleted if within(input.activity.estate.delete_24h, data.vaultgate.settings["delete"].first_day)

# METADATA
# title: Deletion without a net
# description: The vault keeps nothing of what is deleted, so that nobody could take it back.
# custom:
#   code: delete-without-net
#   severity: critical
#   control: [SOC2 A1.2, ISO27001 A.8.13, NIST CP-9(8), MCSB BR-2]
#   remediation: Switch soft delete on first.
deny_delete contains {
	"code": "delete-without-net",
	"message": "soft delete is off in this vault, or nobody knows: what is deleted is gone at once; switch it on first",
	"control": ["SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9(8)", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	holds_data
	not soft_delete_on
}

soft_delete_on if lower(input.facts.vault.soft_delete) in {"enabled", "on", "alwayson"}

# Whether recovery points go with it. What nobody told could hold them.
holds_data if not input.resource.item == null

holds_data if not input.resource.type

holds_data if endswith(lower(input.resource.type), "/protectioncontainers")

holds_data if endswith(lower(input.resource.type), "/vaults")

holds_data if endswith(lower(input.resource.type), "/backupvaults")

# METADATA
# title: Recovery points too young
# description: |
#   With an item go its last recovery points. What was backed up lately is still in use;
#   protection is stopped first, and the data is deleted once nobody missed it.
# custom:
#   code: last-recovery-points
#   severity: high
#   control: [SOC2 A1.2, ISO27001 A.8.13, NIST CP-9, MCSB BR-2]
#   remediation: Stop protection with the data kept, and delete it once the newest recovery point is older than `settings.delete.youngest_days`.
deny_delete contains {
	"code": "last-recovery-points",
	"message": sprintf(
		"the newest recovery point of this item is not %v days old, or nobody knows; stop protection, keep the data, and delete it then",
		[object.get(settled, ["delete", "youngest_days"], "so many")],
	),
	"control": ["SOC2 A1.2", "ISO27001 A.8.13", "NIST CP-9", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	not input.resource.item == null
	not data.vaultgate.settings["delete"].youngest_days == 0
	not old_enough
}

old_enough if input.facts.item.recovery_points.count == 0

old_enough if {
	newest := time.parse_rfc3339_ns(input.facts.item.recovery_points.newest)
	time.parse_rfc3339_ns(input.now) - newest > data.vaultgate.settings["delete"].youngest_days * 86400000000000
}

# METADATA
# title: Weakened, then deleted
# description: |
#   Protection is lowered first, and the data goes next: that is how backups are destroyed. What
#   was weakened today is deleted tomorrow at the earliest.
# custom:
#   code: weakened-then-deleted
#   severity: critical
#   control: [SOC2 CC7.2, ISO27001 A.8.16, NIST SI-4, MCSB BR-2]
#   remediation: Wait a day.
deny_delete contains {
	"code": "weakened-then-deleted",
	"message": "protection was lowered here, or by you, within a day; what was weakened today is deleted tomorrow at the earliest",
	"control": ["SOC2 CC7.2", "ISO27001 A.8.16", "NIST SI-4", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	some who in counted
	not who.weaken["24h"] == 0
}

# METADATA
# title: Guard changed, then deleted
# description: Who must agree at Azure was changed, and the data goes next.
# custom:
#   code: guard-then-deleted
#   severity: critical
#   control: [SOC2 CC7.2, ISO27001 A.5.3, NIST SI-4, MCSB PA-7]
#   remediation: Wait a day.
deny_delete contains {
	"code": "guard-then-deleted",
	"message": "a resource guard was changed here, or by you, within a day; wait a day before you delete",
	"control": ["SOC2 CC7.2", "ISO27001 A.5.3", "NIST SI-4", "MCSB PA-7"],
	"rule": "data.vaultgate.deny_delete",
} if {
	some who in counted
	not who.guard["24h"] == 0
}

# METADATA
# title: Locks or roles tried, then deleted
# description: |
#   Who was refused when they changed locks or role assignments within a day, deletes nothing.
# custom:
#   code: foothold-then-deleted
#   severity: critical
#   control: [SOC2 CC7.2, ISO27001 A.8.16, NIST SI-4, MCSB BR-2]
#   remediation: Wait a day, or have another custodian ask.
deny_delete contains {
	"code": "foothold-then-deleted",
	"message": "you were refused when you changed locks or roles within a day; wait a day, or have another custodian ask",
	"control": ["SOC2 CC7.2", "ISO27001 A.8.16", "NIST SI-4", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	some who in behind
	not untried(who)
}

# Whether they are known to have been refused nothing of the kind.
untried(who) if {
	every operation, _ in who.refused {
		not startswith(lower(operation), "microsoft.authorization/")
	}
}

# METADATA
# title: Deletions across vaults
# description: Who changed that many other vaults within an hour deletes nothing here.
# custom:
#   code: delete-across-vaults
#   severity: critical
#   control: [SOC2 CC7.2, ISO27001 A.8.16, NIST SI-4, MCSB BR-2]
#   remediation: Wait an hour, have another custodian ask, or raise `settings.delete.vaults_hour`.
deny_delete contains {
	"code": "delete-across-vaults",
	"message": "you changed several other vaults within an hour; wait an hour before you delete here, or have another custodian ask",
	"control": ["SOC2 CC7.2", "ISO27001 A.8.16", "NIST SI-4", "MCSB BR-2"],
	"rule": "data.vaultgate.deny_delete",
} if {
	some who in behind
	not few_vaults(who)
}

few_vaults(who) if below(who.vaults["1h"] - own_vault, data.vaultgate.settings["delete"].vaults_hour)

# How many of the vaults that were changed this one may be: none or one.
own_vault := count({done |
	done := input.activity.vault["delete"]["1h"]
	done > 0
})
