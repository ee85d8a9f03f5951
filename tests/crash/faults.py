#!/usr/bin/env python3
"""One call to the disk fails, the n-th, under the whole executable.

    faults.py [--trials N] [--seconds S] [--seed N] [--full [--part I/K]]

`fault.c` lies between the gateway and its data folder. In each trial one kind of call (write,
sync, rename, and those that make, cut and remove files) fails at its n-th time, once or from
then on, with EIO, with ENOSPC, or having written half; a sync that fails may also lose what
was not synced. It strikes at the very first start, at a later one, or under load. Then:

- whoever was refused got 503 with a stable reason, soon; half a write is nobody's trouble;
- after records could not be written or synced nothing is forwarded any more, and `/readyz`
  says why; a start that cannot be made ends, with a message and without a panic;
- without the fault the gateway comes up on the same data by itself; what clients were
  promised stands in the log, what reached Azure was recorded before, a change that was
  answered is not sent again, and both verifiers find the log intact.

Without --full the trials are drawn by the seed; with it they are every n up to 200 of every
kind and fault.
"""

import argparse
import collections
import dataclasses
import itertools
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from receipts import Receipts, hold, there, verified  # noqa: E402
from shim import KINDS, NotHere, Shim  # noqa: E402
from traffic import Clients, points  # noqa: E402
from world import UNLIMITED, World, until  # noqa: E402

# Small segments, so that faults also meet the change from one to the next, and checkpoints
# so often that many renames are met within a short trial.
SMALL = ('[log]\n', '[log]\nsegment_bytes = 1048576\nemergency_bytes = 1048576\n')
FAST = ('checkpoint_every = "2s"', 'checkpoint_every = "20ms"')
# Longest wait for a fault under load; what is rarer than that is not met.
LONGEST_LOAD = 6.0
# Longest that an answer, and an orderly end, may take: statements of the store wait 5 s.
SOON = 8.0
END = 20.0
UP_TO = 200
VERIFIED_EVERY = 5
# Trials on one data folder: judging takes as long as there is to judge.
TOGETHER = 25
MOMENTS = ("first", "start", "serve")
# About as many calls as a start makes; beyond them a trial would tell nothing.
CALLS = {
    "first": {"write": 75, "sync": 42, "rename": 12, "create": 28, "truncate": 1, "unlink": 17},
    "start": {"write": 30, "sync": 24, "rename": 6, "create": 22, "truncate": 1, "unlink": 10},
    "serve": {"write": UP_TO, "sync": UP_TO, "rename": UP_TO, "create": UP_TO, "truncate": 2,
              "unlink": UP_TO},
}
COMMON = ("write", "sync")
PLAIN = ("EIO", "ENOSPC")
FOR = {"write": (*PLAIN, "short", "torn")}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What fails in a trial, and when."""

    moment: str
    kind: str
    fault: str
    at: int
    again: bool
    loses: bool

    def __str__(self):
        often = "from then on" if self.again else "once"
        loses = ", unsynced data lost" if self.loses else ""
        return f"{self.moment} {self.kind} {self.at} {self.fault} {often}{loses}"


def drawn(dice):
    """Faults for as long as one likes, the common calls more often."""
    while True:
        moment = dice.choices(MOMENTS, (2, 2, 6))[0]
        kind = dice.choices(tuple(KINDS), (6, 6, 4, 2, 1, 1))[0]
        # Early calls are those that differ most: half of the trials fall among them. Names
        # change seldom: waiting for the 200th would take the time of ten trials.
        most = min(CALLS[moment][kind], dice.choice((40, UP_TO if kind in COMMON else 60)))
        at = dice.randint(1, most)
        fault = dice.choice(FOR.get(kind, PLAIN))
        yield Fault(moment, kind, fault, at, dice.random() < 0.5,
                    kind == "sync" and dice.random() < 0.7)


def every():
    """Each n of each kind and fault, at every moment."""
    for moment, kind in itertools.product(MOMENTS, KINDS):
        for at in range(1, CALLS[moment][kind] + 1):
            for fault, again in itertools.product(FOR.get(kind, PLAIN), (False, True)):
                for loses in (False, True) if kind == "sync" else (False,):
                    yield Fault(moment, kind, fault, at, again, loses)


class Bench:
    """A gateway on a data folder of its own whose disk fails on demand."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-faults-"))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.world = None
        # What the gateway said when it last did not start.
        self.why = ""
        try:
            self.shim = Shim(self.folder, self.data)
            self.world = World({}, pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-")))
            (self.world.folder / "gateway.out").touch()
            self.world.start_emulator(4.0)
            self.world.write_config(None, UNLIMITED, [SMALL, FAST], self.data)
            self.given = {path.name for path in self.data.iterdir()}
            self.begin()
            self.sound()
        except BaseException:
            self.close()
            raise

    def begin(self):
        """Data as before the very first start."""
        self.kill()
        for path in self.data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in self.given:
                path.unlink()
        self.world.control("DELETE", "journal")
        self.receipts = Receipts()

    def sound(self):
        """A first start on a sound disk, to know what requests can name."""
        hold(self.start(shim=True), "it does not start")
        self.point = points(self.world, self.world.token("operator"))[0]

    def kill(self):
        if self.world.gateway and self.world.gateway.poll() is None:
            self.world.kill_gateway()

    def start(self, shim):
        """Starts the gateway; whether it came up. One that ends must say why."""
        self.world.environment = self.shim.environment if shim else {}
        said = len(self.world.console_text())
        try:
            self.world.start_gateway()
        except AssertionError:
            code = self.world.gateway.poll()
            told = self.world.console_text()[said:]
            hold(code is not None, f"it neither started nor ended:\n{told[-2000:]}")
            hold(code > 0, f"it ended with {code}:\n{told[-2000:]}")
            why = [line for line in told.splitlines() if line.startswith("error: ")]
            hold(why, f"it ended with {code} and without a reason:\n{told[-2000:]}")
            self.why = why[-1]
            return False
        return True

    def running(self):
        return self.world.gateway is not None and self.world.gateway.poll() is None

    def close(self):
        if self.world:
            self.world.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def closes_log(fault, path):
    """Whether a fault at this file means that the log must take nothing more.

    Records are written nowhere else than into segments. A tile is written anew, under a name
    of its own, and can be had from the segments at any time.
    """
    if fault.fault == "short":
        return False
    if path.startswith("log/segments"):
        return fault.kind in ("write", "sync", "rename", "truncate")
    spoilt = fault.kind == "sync" and fault.fault == "EIO"
    return spoilt and path.split("/")[0] == "log" and not path.startswith("log/tile")


def reached(world):
    return len(world.journal(surface="arm"))


def stays_closed(world, clients):
    """Nothing is forwarded by a gateway whose log takes nothing more, and it says so."""
    def closed():
        ready = world.admin("/readyz")
        return ready.status == 503 and b"the decision log is closed" in ready.body

    until("/readyz to say that the log is closed", closed, SOON)
    clients.each_once()
    # What was recorded before the fault may still have been on its way until here.
    before = reached(world)
    for answer in clients.each_once():
        # What is refused anyway may be told so; its refusal then has no record.
        let_off = answer.header("x-vaultgate-decision") == "allow" or answer.status < 400
        hold(not let_off and answer.header("x-vaultgate-receipt") is None,
             f"the log is closed, yet a client was told {answer}")
    hold(reached(world) == before, "something reached Azure from a gateway whose log is closed")
    hold(world.admin("/healthz").status == 200, "a gateway with a closed log is alive")


def meet(bench, fault, clients):
    """The part of a trial in which the disk fails; returns what was struck, or nothing."""
    world, shim = bench.world, bench.shim
    if fault.moment != "serve":
        bench.kill()
    shim.arm(fault.kind, fault.fault, fault.at, fault.again, fault.loses)
    if fault.moment != "serve":
        bench.start(shim=True)
    if bench.running():
        clients.go(lambda: shim.struck, LONGEST_LOAD)
    if not shim.struck:
        return None
    call, path = shim.where
    told = f"{call} {path}"
    if not bench.running():
        hold(fault.moment != "serve", "the gateway ended by itself under load")
        return f"{told}: did not start"
    clients.go(lambda: False, 0.0, least=5)
    clients.check(SOON)
    # What a start could not write may have been tried again since, in another file.
    if fault.moment == "serve" and closes_log(fault, path):
        stays_closed(world, clients)
        told += ": closed"
    if fault.fault == "short":
        hold(not clients.refused, f"half a write is no failure, yet: {clients.refused}")
        ready = world.admin("/readyz")
        hold(ready.status == 200, f"half a write is no failure, yet: {ready}")
    refused = ", ".join(f"{n} {reason}" for reason, n in sorted(clients.refused.items()))
    return f"{told}; {clients.answered} answered, refused {refused or 'none'}"


def end(bench, gently):
    """Ends the gateway: in good order, which must come to its end too, or as a crash does."""
    if bench.running() and gently:
        bench.world.gateway.terminate()
        try:
            bench.world.gateway.wait(END)
        except Exception as error:
            raise AssertionError(f"it did not end within {END:.0f} s of being asked") from error
    bench.kill()


def judge(bench, clients, whole):
    """Everything that must hold once the disk is sound again."""
    world = bench.world
    until("the gateway to be ready", lambda: world.admin("/readyz").status == 200, SOON)
    kept = bench.receipts.check(world.log)
    clients.repeat()
    # It works: changes go through again.
    for answer in clients.each_once():
        hold(answer.status < 500, f"after the restart a client was told {answer}")
    said = world.oracle()
    if whole:
        anchor = there(world.env["VAULTGATE_ANCHOR"])
        said += f"; verify {verified(world.log, world.env['VAULTGATE_LOG_KEY'], anchor)}"
    return f"{kept} receipts kept; {said}"


def trial(bench, fault, dice, whole):
    """One fault, and the gateway as it must be after it; nothing when it was not met."""
    said = len(bench.world.console_text())
    if fault.moment == "first":
        bench.begin()
    clients = Clients(bench.world, bench.receipts, bench.point)
    met = meet(bench, fault, clients)
    end(bench, gently=dice.random() < 0.3)
    bench.shim.disarm()
    up = bench.start(shim=True)
    hold(up, f"{met}; without the fault it does not start: {bench.why}")
    told = judge(bench, clients, whole)
    hold("panicked at" not in bench.world.console_text()[said:], "something panicked")
    return met and f"{met}; {told}"


def play(faults, dice, trials, seconds):
    """Trials until there are enough; passed, failed, not met."""
    began = time.monotonic()
    count = collections.Counter()
    bench = None
    try:
        for number, fault in enumerate(faults, 1):
            if number > trials or time.monotonic() - began > seconds:
                break
            try:
                if bench is None:
                    bench = Bench()
                elif number % TOGETHER == 0:
                    bench.begin()
                    bench.sound()
                told = trial(bench, fault, dice, number % VERIFIED_EVERY == 0)
                count["passed" if told else "unmet"] += 1
                print(f"{number}: {fault}: {told or 'not met'}", flush=True)
            except AssertionError as error:
                count["failed"] += 1
                print(f"FAILED {number}: {fault}: {error}", flush=True)
                # Later trials are to be judged on data of their own.
                bench and bench.close()
                bench = None
        if bench:
            last(bench)
    finally:
        bench and bench.close()
    return count


def last(bench):
    """At the end the gateway comes up without the shim in it, and all of it verifies."""
    bench.kill()
    hold(bench.start(shim=False), "it does not start without the shim")
    print(judge(bench, Clients(bench.world, bench.receipts, bench.point), True), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=35.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--moment", choices=MOMENTS, help="only these")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--part", default="1/1", help="with --full: every K-th trial, from the I-th")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    dice = random.Random(chosen.seed)
    seconds = chosen.seconds
    faults = drawn(dice)
    if chosen.full:
        part, parts = map(int, chosen.part.split("/"))
        faults = itertools.islice(every(), part - 1, None, parts)
        seconds = float("inf")
    if chosen.moment:
        faults = (fault for fault in faults if fault.moment == chosen.moment)
    try:
        count = play(faults, dice, chosen.trials, seconds)
    except NotHere as why:
        print(f"faults: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    print(f"{count['unmet']} faults were not met")
    print(f"faults: {count['passed']} passed, {count['failed']} failed")
    return 0 if count["failed"] == 0 and count["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
