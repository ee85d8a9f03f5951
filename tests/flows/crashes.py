#!/usr/bin/env python3
"""The orchestrator is killed at random instants: each item is backed up once all the same, and what it
reports is true.

    crashes.py [--trials N] [--seed N] [--two]

Runs are asked for one after the other, of the same items; the process that serves them is killed
(SIGKILL) at a random instant of each and started again. Azure throttles backups and breaks connections of
reads meanwhile. In the end a judge that shares no code with the orchestrator reads the
emulator's journal.

With `--two`, two processes share a journal on PostgreSQL; the one that holds the lease is killed, or stands
still (SIGSTOP) until the other has taken over and for a while longer, and wakes up in the middle of what the other does.
"""

import argparse
import contextlib
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

from postgres import Postgres  # noqa: E402
from stage import FLOW, Stage, VAULT  # noqa: E402
from world import REPOSITORY, until  # noqa: E402

# What goes wrong in each run besides: a backup is throttled, and so are lists, or they break off.
FAULTS = [
    {"match": {"method": "POST", "path_contains": "/backup"}, "times": 1,
     "fault": {"kind": "status", "status": 429, "retry_after": 1, "effect": False}},
    {"match": {"method": "GET", "path_contains": "backupJobs"}, "times": 1,
     "fault": {"kind": "status", "status": 503}},
    {"match": {"method": "GET", "path_contains": "backupJobs"}, "times": 1, "fault": {"kind": "reset"}},
]
# A run of three items on the emulator's time takes about three seconds.
LONGEST_LIFE = 3.5
# By then what was begun is in a true state and goes on.
LONGEST_START = 10


class Served:
    """A process that serves the flows."""

    def __init__(self, stage, name="serve"):
        self.stage, self.name, self.process = stage, name, None

    def start(self, ready=True):
        log = open(self.stage.folder / f"{self.name}.out", "ab")
        out = subprocess.PIPE if ready else log
        self.process = subprocess.Popen(self.stage.command("serve"), stdout=out, stderr=log)
        log.close()
        line = self.process.stdout.readline() if ready else b"ready "
        if not line.startswith(b"ready "):
            told = (self.stage.folder / f"{self.name}.out").read_text(errors="replace")
            raise AssertionError(f"it did not start: {line!r} {told[-2000:]}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class One:
    """One process and a journal in a file: killed and started again."""

    def __init__(self, stage, rng):
        self.served = [Served(stage)]
        self.served[0].start()

    def trouble(self, busy):
        """Whether it met a run that went on."""
        alive = busy()
        [served] = self.served
        served.kill()
        began = time.monotonic()
        served.start()
        if time.monotonic() - began > LONGEST_START:
            raise AssertionError("the start took more than ten seconds")
        return alive


class Two:
    """Two processes and one journal on a server: the holder of the lease is killed or stands still."""

    def __init__(self, stage, rng, server):
        self.rng, self.server = rng, server
        self.served = [Served(stage, name) for name in ("serve-a", "serve-b")]
        for served in self.served:
            served.start(ready=False)

    def lease(self):
        found = self.server.query("SELECT token, holder FROM vaultgate_orchestrator.lease", "vaultgate")
        token, _, holder = found.partition("|")
        return int(token), holder

    def trouble(self, busy):
        token, holder = self.lease()
        held = [one for one in self.served if holder == f"process {one.process.pid}"]
        alive = busy() and bool(held)
        for victim in held:
            frozen = self.rng.random() < 0.5
            began = time.monotonic()
            victim.process.send_signal(signal.SIGSTOP if frozen else signal.SIGKILL)
            until("the other to take over", lambda: self.lease()[0] > token)
            if time.monotonic() - began > LONGEST_START:
                raise AssertionError("nobody took over within ten seconds")
            if frozen:
                time.sleep(self.rng.random() * 2)
                victim.process.send_signal(signal.SIGCONT)
            else:
                victim.process.wait()
                victim.start(ready=False)
        return alive


def jobs(stage):
    """The vault's jobs, asked with a token of our own."""
    token, found = stage.world.token("operator"), []
    path = f"{VAULT}/backupJobs?api-version=2026-08-01"
    while path:
        page = stage.world.send("GET", path, token).json()
        found += page["value"]
        path = page.get("nextLink")
    return found


def judged(stage, runs):
    journal, listed, told = (stage.folder / name for name in ("journal.json", "jobs.json", "runs.jsonl"))
    journal.write_text(json.dumps(stage.world.forwarded()), encoding="utf-8")
    listed.write_text(json.dumps(jobs(stage)), encoding="utf-8")
    told.write_text("".join(json.dumps(stage.explained(run)) + "\n" for run in runs), encoding="utf-8")
    command = [sys.executable, REPOSITORY / "tests/oracle/flows.py", "--journal", journal, "--jobs", listed,
               "--runs", told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout.strip()[-4000:], done.stderr.strip())
    return done.returncode == 0


def ended(stage, run):
    """Whether a run has ended: read from the journal, whoever is alive."""
    for line in stage.does("status", "--json", "--most", "3").splitlines():
        one = json.loads(line)
        if one["id"] == run:
            return one["ended"] is not None
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--two", action="store_true")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(Postgres())) if args.two else None
        return trials(args, random.Random(args.seed), server)


def trials(args, rng, server):
    stage = Stage(items='"vm:rg1/vm1", "vm:rg1/vm2", "vm:rg1/vm3"', parallel=2, time_scale=4.0,
                  server=server and server.address())
    serving, runs, kills = None, [], 0
    try:
        serving = Two(stage, rng, server) if server else One(stage, rng)
        while kills < args.trials:
            # Those of the last run that nobody has met are gone: they are counted by what Azure saw.
            stage.world.control("DELETE", "faults")
            for rule in FAULTS:
                stage.world.control("POST", "faults", rule)
            run = stage.does("run", FLOW, "westeurope").strip()
            runs.append(run)
            while not ended(stage, run):
                time.sleep(rng.random() * LONGEST_LIFE)
                if kills < args.trials:
                    # One that ended before is no trial.
                    kills += serving.trouble(lambda: not ended(stage, run))
                    print(f"{kills} of {args.trials} kills, {len(runs)} runs", file=sys.stderr)
                if any(served.process.poll() is not None for served in serving.served):
                    raise AssertionError("it ended by itself")
        stage.world.control("DELETE", "faults")
        for served in serving.served:
            served.process.terminate()
            served.process.wait(30)
        fine = judged(stage, runs)
        stage.world.oracle()
        begun = {job["properties"]["activityId"] for job in jobs(stage)}
        throttled = [one for sent in stage.backups().values() for one in sent if one["client_request_id"] not in begun]
        if not throttled:
            raise AssertionError("no backup was throttled: the faults were not met")
        states = {stage.explained(run)["state"] for run in runs}
        fine = fine and states == {"Completed"}
        print(f"crashes: {kills} kills in {len(runs)} runs, states {sorted(states)}")
        print(f"crashes: {int(fine)} passed, {int(not fine)} failed")
        return 0 if fine else 1
    finally:
        for served in serving.served if serving else []:
            if served.process and served.process.poll() is None:
                served.process.kill()
        stage.stop()


if __name__ == "__main__":
    sys.exit(main())
