#!/usr/bin/env python3
"""The gateway dies at each step between record, use and sending of an approved request.

    crashes.py [--trials N] [--seed N]

An approved backup is used, and the gateway is killed instead of the n-th sync of its data
folder or just after it: n counts through the syncs of decision log and store, so that it dies
before the decision is on disk, after it, before the approval is used up, after that and
before sending, and after sending before the outcome is kept. It is started again, and the
approval is used again in both ways. Whatever happened, Azure has been sent the backup once at
most; what was on record as sent is used up; and what the gateway says of the approval agrees.
"""

import argparse
import collections
import contextlib
import http.client
import pathlib
import random
import sys
import tempfile
import uuid

from pair import APPROVALS, BUNDLE, CONSOLE, UNLIMITED, AUDIENCE, Line, approve, asked, backup, trigger
from receipts import hold
from shim import NotHere, Shim
from world import World

# Syncs up to which one use is followed; with the last it has been sent.
SYNCS = 4
PATIENT = ("[log]\n", '[log]\nappend_timeout = "20s"\n')
# Checkpoints sync as well: none of them in between.
CALM = ('checkpoint_every = "2s"', 'checkpoint_every = "60s"')
USED_UP = {"approval-used"}


class Trial:
    def __init__(self, world, shim, number):
        self.world, self.shim, self.number = world, shim, number
        self.body = backup(number)

    def line(self):
        return Line(self.world, self.world.url, "operator")

    def ask(self):
        with contextlib.closing(self.line()) as line:
            self.approval, digest = asked(line.send("POST", trigger(), self.body))
        url = self.world.env["VAULTGATE_CONSOLE_URL"]
        with contextlib.closing(Line(self.world, url, "approver-a", AUDIENCE)) as desk:
            approve(desk, self.approval, digest)

    def use(self, execute):
        with contextlib.closing(self.line()) as line:
            if execute:
                return line.send("POST", f"{APPROVALS}/{self.approval}/execute")
            headers = {"Vaultgate-Approval": self.approval, "Idempotency-Key": str(uuid.uuid4())}
            return line.send("POST", trigger(), self.body, headers)

    def sent(self, before):
        return len(self.world.forwarded()) - before

    def run(self, at, when, execute):
        """Where it died, and how often it was sent before and after."""
        self.ask()
        before = len(self.world.forwarded())
        self.shim.arm("sync", when, at)
        answered = None
        with contextlib.suppress(OSError, http.client.HTTPException):
            answered = self.use(execute)
        self.shim.disarm()
        died = self.world.gateway.poll() is not None or self.shim.struck > 0
        if died:
            self.world.gateway.wait()
        else:
            self.world.kill_gateway()
        where = self.step()
        first = self.sent(before)
        self.world.start_gateway()
        answers = [self.use(execute), self.use(not execute)]
        total = self.sent(before)
        hold(total <= 1, f"sent {total} times; it died at {where}")
        again = [answer for answer in answers if answer.status == 202]
        hold(len(again) == total - first, f"{answers} after {first} and {total} sent; it died at {where}")
        if not again:
            hold({answer.reason() for answer in answers} <= USED_UP, f"{answers}; it died at {where}")
        if answered is not None:
            hold(answered.status == 202 and first == 1, f"{answered} without a crash")
        return (where if died else "no death"), first, total

    def step(self):
        """What was on disk when it died: the record, the use, the sending."""
        used = [record for record in self.world.records()
                if record["kind"] == "decision" and (record.get("approval") or {}).get("id") == self.approval
                and record["approval"].get("event") == "used"]
        if not used:
            return "before the record"
        decision = used[0]["id"]
        if [entry for entry in self.world.forwarded() if entry["client_request_id"] == decision]:
            return "after sending"
        return f"after the record, {self.shim.where[1].split('/')[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    drawn = random.Random(chosen.seed)
    steps = collections.Counter()
    world = None
    try:
        for number in range(chosen.trials):
            if world is None:
                world, shim = begin()
            plan = [(at, when, execute) for when in ("before", "after") for execute in (True, False)
                    for at in range(1, SYNCS + 1)]
            at, when, execute = plan[number % len(plan)] if number >= 2 else drawn.choice(plan)
            where, first, total = Trial(world, shim, chosen.seed * 100_000 + number).run(at, when, execute)
            steps[where, first, total] += 1
            if number % 20 == 19:
                print(f"{number + 1} trials: {dict(steps)}", flush=True)
        print(world.oracle())
    except NotHere as why:
        print(f"not run: {why}")
        return 0
    finally:
        if world:
            world.stop()
    for (where, first, total), count in sorted(steps.items()):
        print(f"{where}: sent {first} before and {total} in all, {count} trials")
    wanted = {"before the record", "after sending"}
    hold(wanted <= {where for where, _, _ in steps}, f"not every step was met: {dict(steps)}")
    hold(any(where.startswith("after the record") for where, _, _ in steps), "never between record and sending")
    print(f"crashes: {chosen.trials} passed, 0 failed")
    return 0


def begin():
    world = World({}, pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-")))
    data = world.folder / "data"
    data.mkdir()
    shim = Shim(world.folder, data)
    world.environment = shim.environment
    world.start_emulator(4.0)
    world.write_config(BUNDLE, UNLIMITED + CONSOLE, [PATIENT, CALM], data)
    world.start_gateway()
    return world, shim


if __name__ == "__main__":
    sys.exit(main())
