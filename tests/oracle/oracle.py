#!/usr/bin/env python3
"""Holds what reached Azure against what the decision log says, with none of the product's code.

    python3 oracle.py --journal FILE --log DIR [--clock-slack-ms N]

FILE is the emulator's journal: a JSON list (`/_sim/journal`) or JSON lines
(`journal.jsonl`). DIR is the gateway's log folder; its segments are all that is read.

What must hold:
  1  the log is a dense sequence of records, each with its own id;
  2  every request under the operator identity has an allow decision of the same id,
     written before the request arrived, whose `forward` is that request: method,
     path, query and the digest of the body;
  3  no decision has more than one such request;
  4  every request under the reader identity is a GET that an observation of the same
     id lists, written before;
  5  nothing reaches Azure under no identity;
  6  a decision that denies, or replays another, forwards nothing;
  7  the emulator, by a parser of its own, reads every request under the operator
     identity as the operation on the resource that its decision judged, in the one
     canonical spelling, finds the same deciding members in the body, and calls nothing
     destructive that was recorded as harmless;
  8  what policy allows only with the consent of others was sent with an approval that was
     used for nothing else, given by as many other people as were asked for.
The guard identity counts where it carries a decision's id, and then as the operator.

Exit codes: 0 all of it holds, 1 something does not, 2 cannot tell.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from datetime import datetime, timedelta

# How often a read may reach Azure under one decision.
READ_TRIES = 3
HEX64 = re.compile(r"[0-9a-f]{64}")
HARMLESS = ("read", "validate", "snapshot", "protect")
# Which classes fit what a protected item's body does. What nobody understands in it
# makes it the worst that it could be.
EFFECTS = {"stop": ("weaken",), "undelete": ("undelete", "weaken"), "protect": ("protect", "weaken")}
# How polls of a running operation are recorded: their address is Azure's own.
POLL = re.compile(r"Vaultgate/operations/.*/read")


class Unusable(Exception):
    """The question cannot be answered: exit code 2."""


def moment(text):
    """A time in UTC, cut to the log's milliseconds."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", text or "")
    if not found:
        return None
    whole = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S")
    return whole + timedelta(milliseconds=int((found[2] or "").ljust(3, "0")[:3]))


# --- the two sides --------------------------------------------------------------

def read_bytes(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from error


def strict(pairs):
    """Refuses an object that names a member twice: two readers could differ on it."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def read_journal(path):
    data = read_bytes(path)
    try:
        if data.lstrip().startswith(b"["):
            entries = json.loads(data)
        else:
            entries = [json.loads(line) for line in data.splitlines() if line.strip()]
    except ValueError as error:
        raise Unusable(f"{path} is no journal: {error}") from error
    for entry in entries:
        if not isinstance(entry, dict) or "identity" not in entry or "surface" not in entry:
            raise Unusable(f"{path} is no journal: an entry has no identity or surface")
    return entries


def read_log(directory, found):
    """The records in order; what is wrong with the sequence goes to `found`."""
    folder = os.path.join(directory, "segments")
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".jsonl"))
    except OSError as error:
        raise Unusable(f"{folder}: {error.strerror}") from error
    if not names:
        raise Unusable(f"{folder} holds no segment")
    records = []
    for place, name in enumerate(names):
        if name != f"{len(records):020}.jsonl":
            found.append(f"segment {name}: record {len(records)} should come next")
        last = place == len(names) - 1
        records += read_segment(os.path.join(folder, name), len(records), last, found)
    for record in records:
        record["log"] = directory
    return records


def read_segment(path, first, last, found):
    data = read_bytes(path)
    # Zeros are space prepared for records to come.
    written = data.rstrip(b"\0")
    lines = written.split(b"\n")
    torn = lines.pop()
    if torn and not last:
        found.append(f"segment {os.path.basename(path)}: ends within a record")
    records = []
    for line in lines:
        seq = first + len(records)
        try:
            record = json.loads(line, object_pairs_hook=strict)
        except ValueError:
            record = None
        if not isinstance(record, dict) or record.get("schema") != "vaultgate.record/1":
            found.append(f"seq {seq}: not a record")
            record = {"seq": seq, "kind": None, "id": None}
        elif record.get("seq") != seq:
            found.append(f"seq {seq}: the record there calls itself {record.get('seq')!r}")
        elif moment(record.get("time")) is None:
            found.append(f"seq {seq}: no time")
        records.append(record)
    return records


def read_beside(record):
    """The input of a decision; a long one stands beside the log by its digest."""
    document = record.get("input") or {}
    if "blob" not in document:
        return document
    path = os.path.join(record["log"], "blobs", "sha256", str(document["blob"]).removeprefix("sha256:"))
    data = read_bytes(path)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != document["blob"]:
        raise Unusable(f"{path} was changed")
    return json.loads(data, object_pairs_hook=strict)


def member(document, pointer):
    """What a JSON pointer without escapes finds."""
    for name in pointer.split("/")[1:]:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def by_id(records, kind):
    return {record.get("id"): record for record in records if record.get("kind") == kind}


def ids_told_twice(records):
    """Rule 1: what one record says must not be taken for what another says."""
    kinds = {}
    for record in records:
        own, kind = record.get("id"), record.get("kind")
        if own is not None and own in kinds:
            yield f"seq {record['seq']}: a second record {own}: {kinds[own]}, then {kind}"
        kinds[own] = kind


# --- the judgement --------------------------------------------------------------

class Oracle:
    def __init__(self, entries, records, found, slack):
        self.entries = entries
        self.found = found
        self.slack = timedelta(milliseconds=slack)
        found.extend(ids_told_twice(records))
        self.decisions = by_id(records, "decision")
        self.observations = by_id(records, "observation")
        self.forwarded = {}
        # By approval, the decision that was sent with it.
        self.approved = {}
        self.reads = 0

    def judge(self):
        for record in self.decisions.values():
            self.decision(record)
        for entry in self.entries:
            if entry["surface"] != "arm":
                continue
            identity, own = entry["identity"], entry.get("client_request_id")
            if identity == "reader":
                self.read(entry)
            elif identity == "operator" or (identity == "guard" and own in self.decisions):
                self.forward(entry)
            elif identity != "guard":
                self.wrong(entry, f"reached Azure under the identity {identity!r}")

    def wrong(self, entry, what):
        name = f"{entry.get('method')} {entry.get('path')}"
        own = entry.get("client_request_id")
        self.found.append(f"journal {entry.get('seq')} id {own}: {what} ({name})")

    def decision(self, record):
        """A record must not contradict itself, whatever was sent."""
        where = f"seq {record['seq']} id {record['id']}"
        forward = record.get("forward")
        if record.get("verdict") not in ("allow", "deny"):
            self.found.append(f"{where}: no verdict")
        if forward is None:
            return
        if record.get("verdict") != "allow" or record.get("replayed_of") is not None:
            self.found.append(f"{where}: forwards though it was denied or is a replay")
        if forward.get("client_request_id") != record["id"]:
            self.found.append(f"{where}: forwards under another id")
        if not HEX64.fullmatch(str(forward.get("body_sha256"))):
            self.found.append(f"{where}: no digest of the body")

    def forward(self, entry):
        own = entry.get("client_request_id")
        record = self.decisions.get(own)
        if record is None:
            return self.wrong(entry, "no decision of this id")
        # A read that got no answer is tried thrice at most; a change once.
        before = self.forwarded.setdefault(own, [])
        if len(before) >= (READ_TRIES if entry.get("method") == "GET" else 1):
            self.wrong(entry, f"sent before, as journal {before[0]}")
        before.append(entry.get("seq"))
        if record.get("verdict") != "allow":
            self.wrong(entry, f"seq {record['seq']} denied it")
        planned = record.get("forward")
        if planned is None:
            return self.wrong(entry, f"seq {record['seq']} forwards nothing")
        for part in ("method", "path", "query", "body_sha256"):
            if planned.get(part) != entry.get(part):
                said, sent = planned.get(part), entry.get(part)
                self.wrong(entry, f"{part} is {sent!r}, seq {record['seq']} says {said!r}")
        if entry["identity"] == "guard" or record.get("part_of") is not None:
            self.unlocked(entry, record)
        else:
            self.consented(entry, record)
            self.understood(entry, record)
        self.earlier(record, entry)

    def unlocked(self, entry, record):
        """The guard's identity unlocks what others agreed to delete, and does nothing else."""
        seq, whole = record["seq"], self.decisions.get(record.get("part_of")) or {}
        reading, approval = entry.get("reading") or {}, whole.get("approval") or {}
        if entry["identity"] != "guard" or not whole:
            self.wrong(entry, f"seq {seq} is a step of {record.get('part_of')}, sent as {entry['identity']!r}")
        if entry.get("method") != "POST" or not str(reading.get("action")).lower().endswith("/unlockdelete/action"):
            self.wrong(entry, f"the guard's identity sent {reading.get('action')!r}")
        if approval.get("event") != "used" or (whole.get("forward") or {}).get("method") != "DELETE":
            self.wrong(entry, f"seq {seq} unlocks for a decision that uses no approval to delete")
        told = str((reading.get("deciding") or {}).get("/resourceToBeDeleted")).lower()
        if told != str(member(read_beside(whole), "/resource/id")).lower():
            self.wrong(entry, f"the emulator reads {told!r} unlocked, seq {seq} is of another resource")

    def consented(self, entry, record):
        """Others agreed to this request, and to no other with it."""
        owed = (record.get("decision") or {}).get("obligations") or []
        approval = record.get("approval") or {}
        operation = member(read_beside(record), "/operation") or {}
        # The poll of an operation belongs to it.
        if POLL.fullmatch(str(operation.get("name"))) or not owed and approval.get("event") != "used":
            return
        seq, own = record["seq"], approval.get("id")
        if approval.get("event") != "used" or own is None:
            return self.wrong(entry, f"seq {seq} owes an approval and uses none")
        if self.approved.setdefault(own, record["id"]) != record["id"]:
            self.wrong(entry, f"seq {seq} uses approval {own}, as did {self.approved[own]}")
        principal = member(read_beside(record), "/principal") or {}
        people = {one.get("person") for one in approval.get("approvers", [])}
        acting = {(one.get("issuer"), one.get("subject")) for one in [principal, *principal.get("actors", [])]}
        theirs = {(one.get("issuer"), one.get("subject")) for one in approval.get("approvers", [])}
        if None in people or principal.get("person") in people or acting & theirs:
            self.wrong(entry, f"seq {seq} was approved by who asks, or by nobody that is known")
        wanted = max((obligation.get("quorum", 0) for obligation in owed), default=1)
        if len(people) < wanted:
            self.wrong(entry, f"seq {seq} was approved by {len(people)} of {wanted} people")

    def understood(self, entry, record):
        """The emulator read it as what was judged."""
        judged, reading = read_beside(record), entry.get("reading")
        seq, operation = record["seq"], member(judged, "/operation") or {}
        if not isinstance(reading, dict):
            return self.wrong(entry, f"the emulator knows no such operation, seq {seq} calls it "
                                     f"{operation.get('name')!r}")
        action = reading.get("action")
        if POLL.fullmatch(str(operation.get("name"))):
            if entry.get("method") != "GET" or not str(action).endswith("/read"):
                self.wrong(entry, f"the emulator reads {action!r}, seq {seq} a poll")
            return
        if action != operation.get("name"):
            self.wrong(entry, f"the emulator reads {action!r}, seq {seq} judged "
                              f"{operation.get('name')!r}")
        if reading.get("canonical") is not True:
            self.wrong(entry, f"the path is not spelled in the one canonical way, seq {seq} sent it")
        resource = member(judged, "/resource/id")
        if not resource or resource.lower() != str(reading.get("resource")).lower():
            self.wrong(entry, f"the emulator reads the resource {reading.get('resource')!r}, "
                              f"seq {seq} judged {resource!r}")
        for pointer, value in (reading.get("deciding") or {}).items():
            seen = member(judged, f"/request/body{pointer}")
            if seen != value or type(seen) is not type(value):
                self.wrong(entry, f"the emulator reads {value!r} at {pointer}, seq {seq} judged "
                                  f"{seen!r}")
        kind, effect = operation.get("class"), reading.get("effect")
        if reading.get("destructive") and kind in HARMLESS:
            self.wrong(entry, f"the emulator calls it destructive, seq {seq} {kind!r}")
        if effect and kind not in EFFECTS.get(effect, ()):
            self.wrong(entry, f"the emulator reads the effect {effect!r}, seq {seq} says {kind!r}")

    def read(self, entry):
        self.reads += 1
        if entry.get("method") != "GET":
            self.wrong(entry, "the reader identity may only GET")
        record = self.observations.get(entry.get("client_request_id"))
        if record is None:
            return self.wrong(entry, "no observation of this id")
        listed = [(read.get("path"), read.get("query")) for read in record.get("reads", [])]
        if (entry.get("path"), entry.get("query")) not in listed:
            self.wrong(entry, f"seq {record['seq']} does not list this read")
        self.earlier(record, entry)

    def earlier(self, record, entry):
        written, arrived = moment(record.get("time")), moment(entry.get("at"))
        if written is None or arrived is None:
            self.wrong(entry, "the times cannot be compared")
        elif written > arrived + self.slack:
            self.wrong(entry, f"arrived {entry['at']}, before seq {record['seq']} {record['time']}")


def main():
    sys.stdout.reconfigure(line_buffering=True)
    parser = argparse.ArgumentParser(description="Holds a journal against a decision log.")
    parser.add_argument("--journal", required=True, help="JSON list or JSON lines")
    parser.add_argument("--log", required=True, action="append",
                        help="a gateway's log folder; once for each gateway on one store")
    parser.add_argument("--clock-slack-ms", type=int, default=0, help="between two machines")
    options = parser.parse_args()
    found = []
    try:
        entries = read_journal(options.journal)
        records = [record for log in options.log for record in read_log(log, found)]
    except Unusable as error:
        print(f"cannot tell: {error}", file=sys.stderr)
        return 2
    oracle = Oracle(entries, records, found, options.clock_slack_ms)
    try:
        oracle.judge()
    except (Unusable, ValueError) as error:
        print(f"cannot tell: {error}", file=sys.stderr)
        return 2
    for line in found:
        print(f"VIOLATION {line}")
    sent, decided = len(oracle.forwarded), len(oracle.decisions)
    print(
        f"{'ok' if not found else f'{len(found)} violations'}: {len(records)} records, "
        f"{decided} decisions, {sent} requests forwarded, {oracle.reads} reads observed"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
