#!/usr/bin/env python3
"""The orchestrator is killed at random instants: each item is backed up once all the same, and what it
reports is true.

    crashes.py [--trials N] [--seed N]

Runs are asked for one after the other, of the same items; the process that serves them is killed
(SIGKILL) at a random instant of each and started again. Azure throttles backups and breaks connections of
reads meanwhile. In the end a judge that shares no code with the orchestrator reads the
emulator's journal.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

from stage import FLOW, Stage, VAULT  # noqa: E402
from world import REPOSITORY  # noqa: E402

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


class Served:
    """The process that serves the flows."""

    def __init__(self, stage):
        self.stage, self.process = stage, None

    def start(self):
        log = open(self.stage.folder / "serve.out", "ab")
        self.process = subprocess.Popen(self.stage.command("serve"), stdout=subprocess.PIPE, stderr=log)
        log.close()
        line = self.process.stdout.readline()
        if not line.startswith(b"ready "):
            told = (self.stage.folder / "serve.out").read_text(errors="replace")
            raise AssertionError(f"it did not start: {line!r} {told[-2000:]}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


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
    args = parser.parse_args()
    rng = random.Random(args.seed)
    stage = Stage(items='"vm:rg1/vm1", "vm:rg1/vm2", "vm:rg1/vm3"', parallel=2, time_scale=4.0)
    served, runs, kills = Served(stage), [], 0
    try:
        served.start()
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
                    alive = not ended(stage, run)
                    served.kill()
                    kills += alive
                    began = time.monotonic()
                    served.start()
                    if time.monotonic() - began > 10:
                        raise AssertionError("the start took more than ten seconds")
                    print(f"{kills} of {args.trials} kills, {len(runs)} runs", file=sys.stderr)
                if served.process.poll() is not None:
                    raise AssertionError("it ended by itself")
        stage.world.control("DELETE", "faults")
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
        if served.process and served.process.poll() is None:
            served.process.kill()
        stage.stop()


if __name__ == "__main__":
    sys.exit(main())
