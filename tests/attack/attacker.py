#!/usr/bin/env python3
"""An attacker in a process of its own: a job on standard input, what came of it on standard output.

The job names the attack and its target; the answer holds what the gateway did, and the
instants between which it was attacked.
"""

import json
import os
import pathlib
import resource
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "corpus")]

import idle  # noqa: E402
import pump  # noqa: E402
import records  # noqa: E402
import slow  # noqa: E402
import strangers  # noqa: E402
from frames import FLOODS  # noqa: E402


def attack(job):
    if job["attack"] in FLOODS:
        return pump.flood(job, FLOODS[job["attack"]])
    if job["attack"] in slow.HABITS:
        return slow.hold(job, slow.HABITS[job["attack"]])
    if job["attack"] in records.TRICKS:
        return records.TRICKS[job["attack"]](job)
    if job["attack"] == strangers.ATTACK:
        return strangers.storm(job)
    if job["attack"] == "idle":
        return idle.hold(job)
    raise SystemExit(f"there is no attack `{job['attack']}`")


def main():
    job = json.loads(sys.stdin.readline())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Real attackers bring machines of their own: here they must not outrun the honest client.
    os.nice(10)
    began = time.monotonic()
    told = attack(job)
    print(json.dumps({**told, "began": began, "ended": time.monotonic()}))


if __name__ == "__main__":
    main()
