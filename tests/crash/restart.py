#!/usr/bin/env python3
"""The whole gateway starts on a long log: to its `ready` line within two seconds.

    restart.py [--records 100000] [--rounds 3]

A real session is recorded, ended in good order, and its records are written over and over
behind it, each time under new ids, until there are enough. That is a log like any other: the
first start takes them in as records after the newest checkpoint, and signs them. Starts are
then timed as they happen in life: after an orderly end; after a kill under load with changes
in flight; and after a kill between the key of a change and its record, so that the key has
none anywhere in the log.
"""

import argparse
import pathlib
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from receipts import Receipts, hold, lines, there  # noqa: E402
from traffic import Clients, backup, points  # noqa: E402
from world import UNLIMITED, World, program, until  # noqa: E402

# Longest that the median of the starts after each kind of end may take, and how many more are
# tried before that is held against the gateway: the machine may be busy with something else.
LONGEST = 2.0
SECOND_TRIES = 3
SEGMENT = 64 << 20
IN_FLIGHT = 5
ID = re.compile(rb'"id":"([0-9a-f-]{36})"')
SEQ = re.compile(rb'"seq":(\d+),')


class Session:
    """Real records, given again as often as one likes, each time under ids of their own."""

    def __init__(self, records):
        ids = sorted({found[1] for line in records if (found := ID.search(line))})
        self.ids = [identifier.decode() for identifier in ids]
        names = b"|".join(ids)
        self.records = []
        for line in records:
            head, tail = SEQ.split(line, maxsplit=1)[0::2]
            self.records.append((head, re.split(b"(" + names + b")", tail)))

    def again(self, seq, turn):
        """The records from `seq` on; references among them hold."""
        fresh = {identifier.encode(): self.renamed(identifier, turn) for identifier in self.ids}
        for number, (head, parts) in enumerate(self.records):
            tail = b"".join(fresh.get(part, part) for part in parts)
            yield b'%s"seq":%d,%s\n' % (head, seq + number, tail)

    @staticmethod
    def renamed(identifier, turn):
        value = uuid.UUID(identifier).int
        # The last 48 bits of such an id are random: another number there is another id.
        return str(uuid.UUID(int=value ^ ((turn + 1) & 0xFFFF_FFFF_FFFF))).encode()


def grow(log, wanted):
    """Writes records behind those of a log that was closed in good order; returns how many."""
    records = lines(log)
    session = Session(records)
    last = max((log / "segments").glob("*.jsonl"))
    room, seq, turn = SEGMENT - last.stat().st_size, len(records), 0
    file = open(last, "ab")
    while seq < wanted:
        for line in session.again(seq, turn):
            if len(line) > room:
                file.close()
                file, room = open(log / "segments" / f"{seq:020}.jsonl", "wb"), SEGMENT
            file.write(line)
            room -= len(line)
            seq += 1
        turn += 1
    file.close()
    return seq


def start(world):
    began = time.monotonic()
    world.start_gateway()
    return time.monotonic() - began


def killed(world, clients):
    """Ends the gateway as a crash does, with changes that Azure has and has not answered."""
    clients.go(lambda: False, 0.5)
    hold(not clients.strange, f"a client met {clients.strange[:2]}")
    rule = {"match": {"identity": "operator", "method": "POST"},
            "fault": {"kind": "freeze", "command": ["true"]}}
    world.control("POST", "faults", rule)
    before = len(world.forwarded(method="POST"))
    waiting = Clients(world, clients.receipts, clients.point)
    waiting.WORKERS = IN_FLIGHT
    waiting.requests = (backup(),) * IN_FLIGHT
    ended = waiting.begin(lambda: True, 0.0, least=1)
    until("changes to be in flight",
          lambda: len(world.forwarded(method="POST")) >= before + IN_FLIGHT)
    world.kill_gateway()
    world.control("DELETE", "faults")
    world.control("POST", "thaw")
    ended()


def stopped(world, _):
    world.gateway.send_signal(signal.SIGTERM)
    world.gateway.wait(60)


def between(world, clients):
    """A kill after the key of a change was taken and before its record was durable."""
    killed(world, clients)
    path = pathlib.Path(world.env["VAULTGATE_CONFIG"]).parent / "store.db"
    with sqlite3.connect(path) as store:
        for _ in range(IN_FLIGHT):
            row = (uuid.uuid4().hex, "p", str(uuid.uuid4()), "d", "POST", "/x",
                   int(time.time() * 1000))
            store.execute("INSERT INTO idempotency (scope, principal, decision, body_digest,"
                          " method, target, state, started_at)"
                          " VALUES (?, ?, ?, ?, ?, ?, 'in-flight', ?)", row)


def measure(world, clients, end, rounds):
    """Starts after such an end."""
    took = []
    while len(took) < rounds or (statistics.median(took) > LONGEST and len(took) < rounds + SECOND_TRIES):
        end(world, clients)
        took.append(start(world))
    name, middle = end.__name__, statistics.median(took)
    print(f"after {name}: {', '.join(f'{t:.2f}' for t in took)} s;"
          f" median {statistics.median(took):.2f} s", flush=True)
    if middle > LONGEST:
        print(f"FAILED the median start after `{name}` took {middle:.2f} s, more than {LONGEST:.0f} s")
    return middle <= LONGEST


def verify(world, receipts):
    """The log is whole, with every receipt that a client holds."""
    held = world.folder / "receipts"
    receipts.write(held)
    command = [program("vaultgate"), "log", "verify", world.log]
    command += ["--key", world.env["VAULTGATE_LOG_KEY"], "--anchor", held]
    for anchor in there(world.env["VAULTGATE_ANCHOR"]):
        command += ["--anchor", anchor]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    hold(done.returncode == 0, f"verify {done.returncode}: {done.stdout[-1000:]}{done.stderr}")
    return done.stdout.splitlines()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    passed = failed = 0
    with World.start(extra=UNLIMITED) as world:
        receipts = Receipts()
        clients = Clients(world, receipts, points(world, world.token("operator"))[0])
        for _ in range(5):
            clients.each_once()
        stopped(world, clients)
        began = time.monotonic()
        size = grow(world.log, chosen.records)
        print(f"{size} records written in {time.monotonic() - began:.1f} s", flush=True)
        print(f"taken in within {start(world):.2f} s", flush=True)
        for end in (stopped, killed, between):
            if measure(world, clients, end, chosen.rounds):
                passed += 1
            else:
                failed += 1
        try:
            print(f"{len(receipts)} receipts; {verify(world, receipts)}")
            passed += 1
        except AssertionError as error:
            print(f"FAILED {error}")
            failed += 1
    print(f"restart: {passed} passed, {failed} failed")
    return 0 if failed == 0 and passed else 1


if __name__ == "__main__":
    sys.exit(main())
