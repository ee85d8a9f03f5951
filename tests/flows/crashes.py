#!/usr/bin/env python3
"""The orchestrator is killed at random instants: each item is backed up once all the same, and what it
reports is true.

    crashes.py [--trials N] [--seed N] [--json FILE]

Runs are asked for one after the other, of the same items; the process that serves them is killed
(SIGKILL) at a random instant of each and started again. Azure has throttled answers and broken
connections on its way meanwhile. In the end a judge that shares no code with the orchestrator reads the
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
from world import REPOSITORY, until  # noqa: E402

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
            run = stage.does("run", FLOW, "westeurope").strip()
            runs.append(run)
            while not ended(stage, run):
                time.sleep(rng.random() * LONGEST_LIFE)
                if kills < args.trials:
                    served.kill()
                    kills += 1
                    began = time.monotonic()
                    served.start()
                    # It goes on: a run that waits for nobody says so within ten seconds.
                    if time.monotonic() - began > 10:
                        raise AssertionError("the start took more than ten seconds")
                    print(f"{kills} of {args.trials} kills, {len(runs)} runs", file=sys.stderr)
                if served.process.poll() is not None:
                    raise AssertionError("it ended by itself")
        until("the last run", lambda: ended(stage, runs[-1]), 60)
        served.process.terminate()
        served.process.wait(30)
        fine = judged(stage, runs)
        stage.world.oracle()
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
