#!/usr/bin/env python3
"""What a request costs beside 100,000 pending approvals in the store, against an empty store.

    pending.py [--pending N] [--rounds N] [--requests N] [--limit RATIO] [--postgres]

Two gateways in one run, measured in turn, round after round, so that a busy minute of the
machine hits both alike. Three kinds of request: a read, a change that needs approval and has
asked before, and one that shows an approval. CPU is utime+stime of the gateway over the
window; what counts is the ratio. Fails when the median of a kind is above the limit.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sqlite3
import statistics
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("clients", "approvals", "crash")]

from pair import AUDIENCE, APPROVALS, CONSOLE, PATIENT, Line, asked  # noqa: E402
from postgres import Postgres  # noqa: E402
from world import API, UNLIMITED, VAULT, World, item  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
DELETE = f"{item('vm1')}?{API}"
COLUMNS = "id, principal, request, state, version, asked_at, expires_at, content"


def cpu(pid):
    """Seconds of processor that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def fill_file(world, count):
    """So many pending approvals of other principals, made after a real one."""
    with contextlib.closing(sqlite3.connect(world.folder / "store.db")) as store, store:
        row = store.execute(f"SELECT {COLUMNS} FROM approvals LIMIT 1").fetchone()
        rows = ((str(uuid.uuid4()), f"{n:064x}", *row[2:]) for n in range(count))
        store.executemany(f"INSERT INTO approvals ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def fill_server(server, name, count):
    server.query(
        f"INSERT INTO approvals ({COLUMNS}) SELECT gen_random_uuid()::text, lpad(n::text, 64, '0'), request, "
        "state, version, asked_at, expires_at, content FROM approvals, "
        f"generate_series(1, {count}) AS n", name)
    server.query("ANALYZE approvals", name)


class Arm:
    def __init__(self, stack, pending, server=None):
        replace = [PATIENT]
        if server:
            self.name = f"pending{pending}"
            os.environ[f"STORE_{pending}"] = server.database(self.name)
            replace.append(('path = "store.db"', f'postgres = "env:STORE_{pending}"'))
        self.world = stack.enter_context(World.start(extra=UNLIMITED + CONSOLE, replace=replace))
        self.custodian = Line(self.world, self.world.url, "custodian")
        self.approval, digest = asked(self.custodian.send("DELETE", DELETE))
        if pending:
            self.fill(server, pending)
        desk = Line(self.world, self.world.env["VAULTGATE_CONSOLE_URL"], "approver-a", AUDIENCE)
        said = desk.send("POST", f"{APPROVALS}/{self.approval}/approve", {"digest": digest, "reason": "seen"})
        if said.status != 200:
            raise AssertionError(f"{said}")
        self.custodian.close()
        self.rounds = {kind: [] for kind in KINDS}

    def fill(self, server, pending):
        if server:
            fill_server(server, self.name, pending)
            return
        self.world.stop_gateway()
        fill_file(self.world, pending)
        self.world.start_gateway()
        self.custodian.close()

    def run(self, kind, requests):
        send = KINDS[kind]
        # One that nobody used for a while may be closed by now.
        self.custodian.close()
        send(self)
        began = cpu(self.world.gateway.pid)
        for _ in range(requests):
            send(self)
        return (cpu(self.world.gateway.pid) - began) / requests * 1e6


def read(arm):
    answer = arm.custodian.send("GET", f"{VAULT}?{API}")
    if answer.status != 200:
        raise AssertionError(f"{answer}")


def asks_again(arm):
    asked(arm.custodian.send("DELETE", DELETE))


def shows(arm):
    # One of two people has consented: it is looked at, and waits on.
    answer = arm.custodian.send("DELETE", DELETE, headers={"Vaultgate-Approval": arm.approval})
    if answer.reason() != "approval-pending":
        raise AssertionError(f"{answer}")


KINDS = {"read": read, "asks again": asks_again, "shows an approval": shows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--limit", type=float, default=1.1)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--json")
    chosen = parser.parse_args()
    rows, over = [], 0
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(Postgres())) if chosen.postgres else None
        empty, full = Arm(stack, 0, server), Arm(stack, chosen.pending, server)
        for kind in KINDS:
            ratios = []
            for _ in range(chosen.rounds):
                one, many = empty.run(kind, chosen.requests), full.run(kind, chosen.requests)
                ratios.append(many / one)
            ratio = statistics.median(ratios)
            rows.append({"kind": kind, "pending": chosen.pending, "ratio": round(ratio, 3),
                         "spread": [round(min(ratios), 3), round(max(ratios), 3)], "cpu_us": round(many)})
            over += ratio > chosen.limit
            print(f"{kind}: {ratio:.3f} x an empty store (from {min(ratios):.3f} to {max(ratios):.3f})", flush=True)
    if chosen.json:
        pathlib.Path(chosen.json).write_text(json.dumps({"pending": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"pending: {len(rows) - over} passed, {over} failed")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
