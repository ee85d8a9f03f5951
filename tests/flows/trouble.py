#!/usr/bin/env python3
"""Trouble around the orchestrator: a full disk, jumps of its clock, keys of the identity provider that are
rotated away, answers that are garbage. Nothing is lost, nothing is done twice, every occurrence is accounted for.

    trouble.py [TEST...]

What the runs say of themselves is judged by a script that shares no code with the orchestrator, from what
reached the emulator.
"""

import contextlib
import datetime
import glob
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "crash")]

from crashes import judged  # noqa: E402
from full import NotHere, small_disk  # noqa: E402
from stage import FLOW, Stage  # noqa: E402
from world import options, run, until  # noqa: E402

MACHINES = '"vm:rg1/vm1", "vm:rg1/vm2", "vm:rg1/vm3"'
LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
HOUR = 3600


class Trouble(unittest.TestCase):
    """One gateway and one orchestrator each."""

    def staged(self, **how):
        stage = Stage(items=MACHINES, parallel=2, **how)
        self.addCleanup(stage.stop)
        return stage

    def serve(self, stage, environment=None):
        """The flows are served; what the process says stands in `serve.out`."""
        log = open(stage.folder / "serve.out", "ab")
        self.addCleanup(log.close)
        process = subprocess.Popen(stage.command("serve"), stdout=subprocess.PIPE, stderr=log, text=True,
                                   env={**os.environ, **(environment or {})})
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertTrue(process.stdout.readline().startswith("ready "), self.said(stage))
        return process

    def said(self, stage):
        return (stage.folder / "serve.out").read_text(errors="replace")

    def ended(self, stage, number):
        return until("the end of the run", lambda: (lambda whole: whole["ended"] and whole)(stage.explained(number)), 120)

    def whole(self, stage, numbers):
        """All of it was backed up once, and that is what is said."""
        for number in numbers:
            whole = self.ended(stage, number)
            self.assertEqual(whole["state"], "Completed", whole)
        self.assertTrue(judged(stage, numbers))
        stage.world.oracle()

    def test_a_full_disk_costs_time_and_no_backup(self):
        with small_disk(1 << 20) as disk:
            stage = self.staged()
            config = stage.config.read_text(encoding="utf-8")
            stage.config.write_text(config.replace('"orchestrator.db"', f'"{disk}/orchestrator.db"'), encoding="utf-8")
            process = self.serve(stage)
            numbers = []
            for turn in range(3):
                numbers.append(stage.does("run", FLOW, "westeurope").strip())
                until("the first request", lambda: len(stage.backups()) and
                      sum(len(sent) for sent in stage.backups().values()) > 3 * turn)
                before = self.said(stage).count("is full")
                filler = disk / "filler"
                with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                until("that somebody notices", lambda: self.said(stage).count("is full") > before)
                self.assertIsNone(process.poll(), self.said(stage))
                # What people ask for meanwhile is refused, with the reason.
                told = subprocess.run(stage.command("run", FLOW, "westeurope"), capture_output=True, text=True, check=False)
                self.assertEqual(told.returncode, 1)
                self.assertIn("is full", told.stderr)
                filler.unlink()
                self.ended(stage, numbers[-1])
            self.assertIsNone(process.poll(), self.said(stage))
            self.whole(stage, numbers)
            process.terminate()
            self.assertEqual(process.wait(30), 0)

    def test_keys_that_are_rotated_away_cost_another_token(self):
        stage = self.staged()
        self.serve(stage)
        numbers = []
        for _ in range(2):
            number = stage.does("run", FLOW, "westeurope").strip()
            until("the first request", lambda: any(one["sent_at"] for one in stage.explained(number)["items"]))
            # The token that it holds is worth nothing from here on: a gateway that has just started
            # remembers none that it has verified before.
            stage.world.control("POST", "rotate", {"keep_old": False})
            stage.world.stop_gateway()
            stage.world.start_gateway()
            numbers.append(number)
            self.ended(stage, number)
        self.whole(stage, numbers)

    def test_garbage_is_no_answer(self):
        stage = self.staged()
        self.serve(stage)
        page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>"
        kinds = [{"kind": "wrong-body"}, {"kind": "reset"}, {"kind": "raw", "body": page}, {"kind": "redirect"},
                 {"kind": "raw", "body": "HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n{\"value\": ["}]
        numbers = []
        for path in ("backupJobs", "backupProtectedItems"):
            for kind in kinds:
                stage.world.control("POST", "faults", {"match": {"method": "GET", "path_contains": path}, "times": 1,
                                                       "fault": kind})
            numbers.append(stage.does("run", FLOW, "westeurope").strip())
            self.ended(stage, numbers[-1])
        self.whole(stage, numbers)

    def test_a_clock_that_jumps_loses_no_occurrence_and_runs_none_twice(self):
        found = sorted(glob.glob(LIBRARY))
        stage = self.staged()
        stage.file.write_text(stage.text.replace('"30 2 * * *"', '"0 * * * *"'), encoding="utf-8")
        stage.review()
        clock = stage.folder / "clock"

        def turn(seconds):
            new = clock.with_suffix(".new")
            new.write_text(f"{seconds:+d}\n", encoding="utf-8")
            new.rename(clock)

        turn(0)
        faked = {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
                 "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        self.serve(stage, faked)
        number = stage.does("run", FLOW, "westeurope").strip()
        self.ended(stage, number)

        def dues(wanted):
            runs = [json.loads(line) for line in stage.does("status", "--json", "--most", "100").splitlines()]
            runs = [one for one in runs if one["id"] != number]
            return runs if len(runs) >= wanted and all(one["ended"] for one in runs) else None

        # Half past an hour: what was due at it may not be begun any more.
        ahead = 5 * HOUR + HOUR // 2 - int(time.time()) % HOUR
        turn(ahead)
        runs = until("five hours", lambda: dues(5), 120)
        # Back, and ahead again: nothing of it is due a second time.
        for seconds in (-2 * HOUR, 0, ahead + 60):
            turn(seconds)
            # Asked for by the same clock: once it has begun, the schedule was looked at by it as well.
            other = subprocess.run(stage.command("run", FLOW, "westeurope"), capture_output=True, text=True, check=True,
                                   env={**os.environ, **faked}).stdout.strip()
            until("a turn", lambda: stage.explained(other)["started"] or stage.explained(other)["ended"])
            stage.does("cancel", other, code=None)
        runs = [one for one in until("the same", lambda: dues(5)) if one["reason"] != "somebody cancelled it"]
        at = sorted(datetime.datetime.fromisoformat(one["due"].replace("Z", "+00:00")) for one in runs
                    if one["due"].endswith(":00:00Z"))
        steps = {(later - earlier).total_seconds() for earlier, later in zip(at, at[1:])}
        self.assertEqual((len(at), steps), (5, {HOUR}), runs)
        states = {one["state"] for one in runs if one["due"].endswith(":00:00Z")}
        # They were missed, and say so.
        self.assertEqual(states, {"Missed"})
        sent = [one for items in stage.backups().values() for one in items]
        self.assertEqual(len({one["client_request_id"] for one in sent}), len(sent))


def main():
    only = options(__doc__.splitlines()[0]).parse_args().only
    try:
        with small_disk(1 << 20):
            pass
        if not glob.glob(LIBRARY):
            raise NotHere("there is no libfaketime: install `faketime`")
    except (NotHere, OSError) as why:
        print(f"trouble: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    return run("trouble", only=only)


if __name__ == "__main__":
    sys.exit(main())
