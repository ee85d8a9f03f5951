#!/usr/bin/env python3
"""The machine's clock jumps while the gateway serves: hours, ten years, and back.

    clock.py [NAME...]

libfaketime moves the wall clock of the gateway alone; Azure and the issuers keep the time, and
monotonic time passes as ever. While the clock is wrong changes are refused (`clock-untrusted`)
and reads go on; what has ended stays ended when the clock steps back; nothing that was kept
(idempotency keys, counters) is forgotten by a jump ahead; records stay in the order of their
sequence, checkpoints go on, and the log verifies. The sequence of the tests is that of one life
of one gateway.

Ten years ahead no certificate and no token is good any more, so nothing but refusals is
expected there.
"""

import glob
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from receipts import Receipts, hold, there, verified  # noqa: E402
from traffic import Clients, backup, points, read, restore  # noqa: E402
from world import REPOSITORY, UNLIMITED, World, options, run, until  # noqa: E402

HOUR = 3600
YEARS = 10 * 365 * 24 * HOUR
LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
# Short lives, so that their ends are met; the rest of the lifetime rules stays.
LEEWAY = ('max_lifetime = "24h"', 'max_lifetime = "24h"\nleeway = "1s"')
HANDLES = ('watch_every = "2s"', 'watch_every = "2s"\nttl = "3s"')
# Longest until the gateway has tidied up once: it does so every 20 s.
TIDY = 30.0

world = receipts = clients = faked = None


class NotHere(Exception):
    """This machine cannot do it: no libfaketime."""


class Faked:
    """The clock that the gateway sees."""

    def __init__(self, folder):
        found = sorted(glob.glob(LIBRARY))
        if not found:
            raise NotHere("there is no libfaketime: install `faketime`")
        self.file = folder / "clock"
        self.turn(0)
        self.environment = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def turn(self, seconds):
        """Sets the clock this far from the right time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)


def long_token():
    """A token that is good from two hours ago until twenty hours from now."""
    now = int(time.time())
    return world.token("operator", claims={"iat": now - 2 * HOUR, "nbf": now - 2 * HOUR,
                                           "exp": now + 20 * HOUR})


def begin():
    global world, receipts, clients, faked
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-"))
    world = World({}, folder)
    faked = Faked(folder)
    world.start_emulator(4.0)
    world.write_config(None, UNLIMITED, [LEEWAY, HANDLES], folder)
    world.environment = faked.environment
    world.start_gateway()
    receipts = Receipts()
    point = points(world, world.token("operator"))[0]
    clients = Clients(world, receipts, point)


def anchored():
    return os.path.getsize(world.env["VAULTGATE_ANCHOR"])


def tidied():
    """When, by its own clock, the gateway has last tidied up."""
    path = pathlib.Path(world.env["VAULTGATE_CONFIG"]).parent / "store.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
        return store.execute("SELECT touched FROM liveness WHERE id = 1").fetchone()[0] / 1000


class Jumps(unittest.TestCase):
    """The tests in the order of their names."""

    def setUp(self):
        clients.token = long_token()
        clients.strange.clear()

    def tearDown(self):
        faked.turn(0)
        self.assertNotIn("panicked at", world.console_text())
        self.assertIsNone(world.gateway.poll(), "the gateway ended")

    def told(self, request, status, reason=None):
        answer = clients.send(request)
        self.assertEqual((answer.status, answer.reason()), (status, reason), answer)
        return answer

    def refuses_changes(self):
        before = len(world.forwarded(method="POST"))
        for request in (backup(), restore(clients.point)):
            self.told(request, 503, "clock-untrusted")
        self.assertEqual(len(world.forwarded(method="POST")), before)

    def checkpoints_go_on(self):
        before = anchored()
        self.told(read(), 200)
        until("the next checkpoint to leave", lambda: anchored() > before)

    def wrong(self, seconds):
        self.told(backup(), 202)
        faked.turn(seconds)
        self.refuses_changes()
        self.told(read(), 200)
        self.checkpoints_go_on()
        faked.turn(0)
        self.told(backup(), 202)
        self.checkpoints_go_on()

    def test_1_an_hour_ahead_changes_wait_and_reads_go_on(self):
        self.wrong(HOUR)

    def test_2_an_hour_behind_changes_wait_and_reads_go_on(self):
        self.wrong(-HOUR)

    def test_3_a_token_that_has_ended_stays_so_when_the_clock_steps_back(self):
        now = int(time.time())
        token = world.token("operator", claims={"iat": now - 2 * HOUR, "nbf": now - 2 * HOUR,
                                                "exp": now + 2})
        clients.token = token
        self.told(read(), 200)
        until("it to end", lambda: clients.send(read()).reason() == "token-expired", 10)
        faked.turn(-HOUR)
        self.told(read(), 401, "token-expired")
        clients.token = long_token()
        self.told(read(), 200)

    def test_4_a_handle_that_has_ended_stays_so_when_the_clock_steps_back(self):
        started = self.told(backup(), 202)
        handle = started.header("Location") or started.header("Azure-AsyncOperation")
        poll = ("GET", handle, None)
        self.assertIn(clients.send(poll).status, (200, 202))
        until("it to end", lambda: clients.send(poll).reason() == "handle-expired", 10)
        faked.turn(-HOUR)
        self.told(poll, 410, "handle-expired")

    def test_5_ten_years_ahead_nothing_goes_out_and_nothing_is_forgotten(self):
        key = "kept-over-a-jump"
        self.assertEqual(clients.send(backup(), key).status, 202)
        record = world.record(self.told(backup(), 202).header("x-vaultgate-decision-id"))
        before = record["input"]["activity"]["principal"]["snapshot"]
        sent = len(world.forwarded(method="POST"))
        began = time.time()
        faked.turn(YEARS)
        for request in (read(), backup(), restore(clients.point)):
            self.assertGreaterEqual(clients.send(request).status, 400)
        self.assertEqual(len(world.forwarded(method="POST")), sent)
        until("the gateway to tidy up", lambda: tidied() > began + YEARS, TIDY)
        faked.turn(0)
        # Seen to have ended, though by a wrong clock.
        self.told(read(), 401, "token-expired")
        clients.token = long_token()
        self.told(read(), 200)
        record = world.record(self.told(backup(), 202).header("x-vaultgate-decision-id"))
        after = record["input"]["activity"]["principal"]["snapshot"]
        for window in before:
            self.assertGreater(after[window], before[window], "a jump ahead emptied a counter")
        sent = len(world.forwarded(method="POST"))
        again = clients.send(backup(), key)
        self.assertEqual(len(world.forwarded(method="POST")), sent, f"sent twice: {again}")
        self.assertIn(again.status, (202, 409), again)

    def test_6_a_start_by_a_wrong_clock_finds_out(self):
        faked.turn(-HOUR)
        world.kill_gateway()
        world.start_gateway()
        self.told(read(), 200)
        self.refuses_changes()
        self.checkpoints_go_on()
        faked.turn(0)
        self.told(backup(), 202)

    def test_7_records_stand_in_the_order_of_their_sequence_and_all_of_it_verifies(self):
        self.checkpoints_go_on()
        found = world.records()
        self.assertEqual([record["seq"] for record in found], list(range(len(found))))
        times = [record["time"] for record in found]
        back = sum(later < earlier for earlier, later in zip(times, times[1:]))
        self.assertGreaterEqual(back, 3, "the gateway saw no jump: nothing was tried")
        self.assertGreater(receipts.check(world.log), 0)
        anchor = there(world.env["VAULTGATE_ANCHOR"])
        self.assertEqual(verified(world.log, world.env["VAULTGATE_LOG_KEY"], anchor), 0)
        print(f"{len(found)} records, {back} steps back; {self.oracle()}")
        world.kill_gateway()
        world.start_gateway()

    def oracle(self):
        """As ever, but for the times of records, which are those of a wrong clock."""
        journal = world.folder / "journal.json"
        journal.write_text(json.dumps(world.journal()))
        words = [sys.executable, REPOSITORY / "tests/oracle/oracle.py", "--journal", journal]
        words += ["--log", world.log, "--clock-slack-ms", str(2 * YEARS * 1000)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        hold(done.returncode == 0, f"the oracle found:\n{done.stdout[-3000:]}{done.stderr}")
        return done.stdout.splitlines()[-1]


def main():
    chosen = options(__doc__.splitlines()[0]).parse_args()
    try:
        begin()
        return run("clock", only=chosen.only)
    except NotHere as why:
        print(f"clock: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    finally:
        if world:
            world.stop()


if __name__ == "__main__":
    sys.exit(main())
