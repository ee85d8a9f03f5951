#!/usr/bin/env python3
"""The disk of the gateway's data fills up while it serves, and is emptied again.

    full.py [NAME...]

The data folder stands on a small file system of its own (tmpfs); another file fills it. Then
reads, backups and denials are refused first, with 503; restores go on in the segment in use and
in the one that was prepared for them, `log.emergency_bytes`; `/readyz` says why. When that is
full too, everything is refused and nothing is forwarded. Once space is freed the gateway goes
on by itself: nobody restarts it or edits a file, and a restart finds everything well. No record
is missing at any time.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from receipts import Receipts, hold, there, verified  # noqa: E402
from traffic import Clients, backup, denied, points, read, restore  # noqa: E402
from world import REPOSITORY, UNLIMITED, World, run, until  # noqa: E402

SIZE = 24 << 20
SMALL = ('[log]\n', '[log]\nsegment_bytes = 1048576\nemergency_bytes = 262144\n')
FAST = ('checkpoint_every = "2s"', 'checkpoint_every = "200ms"')
# Longest until it is known that there is space: the log looks every 10 s, the store every 20.
RECOVERY = 30.0


class NotHere(Exception):
    """This machine cannot do it: no root."""


@contextlib.contextmanager
def small_disk(size=SIZE):
    """A file system of so many bytes, and nothing left of it afterwards."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-full-"))
    options = ["-t", "tmpfs", "-o", f"size={size},mode=0755", "vaultgate-full"]
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        folder.rmdir()
        raise NotHere(f"mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that is still ending must not keep it.
        subprocess.run(["umount", "--lazy", folder], check=False)
        folder.rmdir()


class Full(unittest.TestCase):
    """One gateway whose disk fills up."""

    def begin(self, *replace):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.disk = stack.enter_context(small_disk())
        self.world = stack.enter_context(World.start(
            self.policies(), UNLIMITED, [SMALL, FAST, *replace], data=self.disk / "gateway"))
        self.anchor = self.world.env["VAULTGATE_ANCHOR"]
        self.receipts = Receipts()
        token = self.world.token("operator")
        self.point = points(self.world, token)[0]
        self.clients = Clients(self.world, self.receipts, self.point)

    def policies(self):
        """Those that ship, with restores that no budget ends: the disk is to end them."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-policies-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        copy = shutil.copytree(REPOSITORY / "policies", folder / "policies")
        settings = copy / "vaultgate/settings/data.json"
        values = json.loads(settings.read_text(encoding="utf-8"))
        values["restore"]["day"] = 1 << 30
        settings.write_text(json.dumps(values), encoding="utf-8")
        return copy

    def fill(self):
        """Takes all the space that is left."""
        with open(self.disk / "ballast", "wb", buffering=0) as file:
            for size in (1 << 20, 512):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        hold(shutil.disk_usage(self.disk).free < 4096, "the disk is not full")

    def free(self):
        (self.disk / "ballast").unlink()

    def tells(self, *words):
        """Whether the gateway is not ready, and says these words."""
        ready = self.world.admin("/readyz")
        return ready.status == 503 and all(word in ready.body for word in words)

    def load(self, requests, enough):
        """These requests until it is enough."""
        self.clients.requests = requests
        self.clients.go(enough, 30.0)

    def refuses(self, request, reason):
        answer = self.clients.send(request)
        self.assertEqual((answer.status, answer.reason()), (503, reason), answer)

    def allows(self, request, status=202):
        answer = self.clients.send(request)
        self.assertEqual(answer.status, status, answer)

    def recovers(self):
        """By itself, and whole."""
        def works():
            return (self.world.admin("/readyz").status == 200
                    and self.clients.send(read()).status == 200
                    and self.clients.send(backup()).status == 202
                    and self.clients.send(restore(self.point)).status == 202)

        until("the gateway to go on by itself", works, RECOVERY)
        self.judge()
        self.world.kill_gateway()
        self.world.start_gateway()
        self.judge()

    def judge(self):
        self.clients.check(8.0)
        self.assertGreater(self.receipts.check(self.world.log), 0)
        self.world.oracle()
        verified(self.world.log, self.world.env["VAULTGATE_LOG_KEY"], there(self.anchor))
        self.assertNotIn("panicked at", self.world.console_text())


class DiskOfTheLog(Full):
    """Store and anchor stand elsewhere, so that what the log alone does is seen."""

    def test_reads_are_refused_first_then_restores_and_all_of_it_recovers(self):
        elsewhere = tempfile.mkdtemp(prefix="vaultgate-store-")
        self.addCleanup(shutil.rmtree, elsewhere, ignore_errors=True)
        self.begin(('path = "store.db"', f'path = "{elsewhere}/store.db"'),
                   ('anchor_files = ["anchor"]', f'anchor_files = ["{elsewhere}/anchor"]'))
        self.anchor = f"{elsewhere}/anchor"
        self.fill()
        everything = self.clients.requests
        self.load(everything, lambda: self.tells(b"disk of the decision log is short"))
        self.assertTrue(self.tells(b"disk of the decision log is short", b"No space left"))
        for request in (read(), backup(), denied()):
            self.refuses(request, "log-unavailable")
        self.allows(restore(self.point))
        self.assertEqual(self.world.admin("/healthz").status, 200)
        before = len(self.world.forwarded(path_contains="/restore"))
        count = self.clients.refused
        only = tuple(restore(self.point) for _ in range(3))
        told = sum(count.values())
        self.load(only, lambda: sum(count.values()) > told)
        restored = len(self.world.forwarded(path_contains="/restore")) - before
        print(f"{restored} restores went on after reads were refused")
        self.assertGreater(restored, 10)
        until("even restores to be refused", lambda: self.clients.send(only[0]).status == 503)
        reached = len(self.world.forwarded())
        for request in (read(), backup(), restore(self.point)):
            self.refuses(request, "log-unavailable")
        self.assertEqual(len(self.world.forwarded()), reached, "forwarded without a record")
        self.free()
        self.recovers()


class DiskOfEverything(Full):
    """As it is by default: log, store and anchor in one place."""

    def test_restores_go_on_and_all_of_it_recovers(self):
        self.begin()
        self.fill()
        self.load(self.clients.requests, lambda: self.tells(b"disk of the decision log is short"))
        try:
            self.refuses(read(), "log-unavailable")
            # Under a key, as the Azure CLI sends them: its request id is one.
            for _ in range(10):
                self.allows(restore(self.point))
        finally:
            self.free()
            self.recovers()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", help="names of tests")
    only = parser.parse_args().only
    try:
        with small_disk():
            pass
    except (NotHere, OSError) as why:
        print(f"full: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    return run("full", only=only) if only else together()


def together():
    """Every test at once, in processes of their own: they mostly wait for the gateway."""
    names = ("DiskOfTheLog", "DiskOfEverything")
    command = [sys.executable, __file__]
    running = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True) for name in names]
    told = [process.communicate()[0] for process in running]
    print("".join(told))
    failed = sum(process.returncode != 0 for process in running)
    print(f"full: {len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
