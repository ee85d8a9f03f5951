"""What a case must end with: its outcome is gathered here, its expectation checked there.

Common to all cases: a request that was refused never reached Azure; what reached Azure did
so once, in canonical spelling, under a decision that allows it; `/smuggled` never did.
"""

import csv
import json
import re
import time
import urllib.parse
from dataclasses import dataclass

from world import CORPUS, REPOSITORY, until

GROUP = f"/subscriptions/{CORPUS}/resourceGroups/rg1/providers"
VAULT = f"{GROUP}/Microsoft.RecoveryServices/vaults/v1"
ITEM = (f"{VAULT}/backupFabrics/Azure/protectionContainers/iaasvmcontainer;iaasvmcontainerv2;rg1;vm1"
        "/protectedItems/vm;iaasvmcontainerv2;rg1;vm1")
VERSION = "api-version=2024-04-01"
BACKUP = b'{"properties":{"objectType":"IaasVMBackupRequest"}}'


class Wrong(AssertionError):
    """A case did not end as it must."""


def hold(condition, what):
    if not condition:
        raise Wrong(what)


@dataclass
class Outcome:
    """One case after it was sent."""

    exchange: object
    reached: list  # what came to Azure under the operator identity
    world: object

    @property
    def status(self):
        return self.exchange.status

    def answered(self):
        found = self.exchange
        body = found.replies[0].body[:300] if found.replies else b""
        return (f"status {found.status}, closed {found.closed}, reset {found.reset}, "
                f"goaway {found.goaway}, reached {len(self.reached)}, {body!r}")

    def decision(self):
        """The record that the answer names; it must be in the log."""
        own = self.exchange.header("x-vaultgate-decision-id")
        hold(own, f"the answer names no decision: {self.answered()}")
        return self.record(own)

    def record(self, own):
        def there():
            for record in self.world.records():
                if record["id"] == own:
                    return record
            return None

        return until(f"the record {own}", there)

    def refused(self, *statuses, recorded=False):
        """Refused with one of these, or by the end of the stream, and gone nowhere."""
        hold(not self.reached, f"refused, yet it reached Azure: {self.answered()}")
        ended = self.exchange.reset is not None or bool(self.exchange.goaway)
        silent = self.exchange.closed and not self.exchange.replies
        fine = self.status in statuses or (400 in statuses and not self.exchange.replies
                                           and (ended or silent))
        hold(fine, f"wanted {statuses}: {self.answered()}")
        # hyper's own answers to what is no HTTP have no record; ours have one.
        if recorded and self.exchange.header("x-vaultgate-decision"):
            record = self.decision()
            hold(record["kind"] in ("refusal", "unauthenticated") or record.get("verdict") == "deny",
                 f"no refusal is recorded: {record['kind']}")

    def once(self):
        """Reached Azure once, under the decision that the answer names."""
        hold(len(self.reached) == 1, f"wanted once: {self.answered()}")
        entry = self.reached[0]
        record = self.record(entry["client_request_id"])
        hold(record["kind"] == "decision" and record["verdict"] == "allow", "no allow is recorded")
        names = [name.lower() for name, _ in entry["headers"]]
        hold(names.count("authorization") == 1, "upstream Authorization is missing or doubled")
        return entry, record


class Stage:
    """Runs a case on a world set back to its beginning, and keeps what reached Azure."""

    def __init__(self, world, wire):
        self.world, self.wire = world, wire
        self.entries = []

    def play(self, send, prepare=None):
        self.world.control("POST", "reset")
        before = 0
        if prepare:
            prepare()
            before = len(self.world.journal())
        exchange = send()
        entries = self.world.journal()
        self.entries += entries
        entries = entries[before:]
        for entry in entries:
            hold("smuggled" not in entry["path"], "a smuggled request reached the emulator")
        reached = [e for e in entries if e["surface"] == "arm" and e["identity"] == "operator"]
        return Outcome(exchange, reached, self.world)

    def alive(self, token):
        """The gateway still answers others."""
        answer = self.world.send("GET", f"{VAULT}?{VERSION}", token)
        hold(answer.status == 200, f"the gateway does not answer any more: {answer}")

    def memory(self):
        """Resident bytes of the gateway."""
        pid = self.world.gateway.pid if self.world.gateway else self.world.env.get("VAULTGATE_PID")
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) * 1024


# --- an ARM router of our own ------------------------------------------------------

class Operations:
    """Which operation a target names, from the list of operations alone."""

    def __init__(self):
        with open(REPOSITORY / "tests/data/operations.csv", encoding="utf-8", newline="") as file:
            self.rows = list(csv.DictReader(file))

    def action(self, operation):
        return next(row["rbac_action"] for row in self.rows if row["operationId"] == operation)

    def find(self, method, path):
        """The operation, and whether the path is spelled as the list spells it."""
        segments = [urllib.parse.unquote(part) for part in path.split("/")[1:]]
        best = None
        for row in self.rows:
            template = row["url_template"].split("/")[1:]
            if row["method"] != method or len(template) != len(segments):
                continue
            fixed = [(t, s) for t, s in zip(template, segments) if not t.startswith("{")]
            if all(t.lower() == s.lower() for t, s in fixed):
                exact = all(t == s for t, s in fixed)
                if best is None or len(fixed) > best[2]:
                    best = (row["operationId"], exact, len(fixed))
        return best[:2] if best else (None, False)


def written(value):
    return json.dumps(value, separators=(",", ":")).encode()


class Report:
    """Counts cases; a failed one is told at once."""

    def __init__(self):
        self.passed = self.failed = 0

    def case(self, group, name, check):
        began = time.monotonic()
        try:
            check()
            self.passed += 1
        except Exception as error:  # any trouble of a case is that case's failure
            self.failed += 1
            kind = "" if isinstance(error, Wrong) else f"{type(error).__name__}: "
            print(f"FAILED {group} {name}: {kind}{error} ({time.monotonic() - began:.1f} s)", flush=True)
