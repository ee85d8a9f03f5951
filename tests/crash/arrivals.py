#!/usr/bin/env python3
"""A power cut at the very moment at which a request arrives at Azure.

    arrivals.py [--trials 30]

The gateway's data stands on a disk of its own (`disk.py`). When a request of the gateway's
arrives, the emulator stops the gateway (SIGSTOP) before anything is answered, and the disk is
copied as a power cut would leave it: what was written and not synced is not in the copy. The
record of what has just arrived must be. Two trials of three stop at a request of a caller's, a
backup and a read; the third at a read of the gateway's own, recorded before it is made too.

Each trial has negative controls, written without a sync: in place, before the request was
sent; and as a new file, after it arrived. If the copy holds one of them, dirty data reaches
the disk by itself here, so that the test could not tell, and fails.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from disk import Disk, NotHere  # noqa: E402
from receipts import Receipts, hold, record_of, there, verified  # noqa: E402
from world import API, REPOSITORY, UNLIMITED, VAULT, World, item, until  # noqa: E402

BACKUP = {"properties": {"objectType": "IaasVMBackupRequest"}}
# Small segments, so that the cuts also fall around the change from one to the next.
SMALL = ('[log]\n', '[log]\nsegment_bytes = 1048576\nemergency_bytes = 1048576\n')
FAST = ('checkpoint_every = "2s"', 'checkpoint_every = "300ms"')
CONTROL = 64 << 10
# What is sent, what the gateway is stopped at, what must survive, what the client is told. A
# delete is judged on fresh facts, so that a read of the gateway's own comes before it.
MOMENTS = (
    ("POST", f"{item('vm1')}/backup?{API}", BACKUP, "operator", "decision", 202),
    ("GET", f"{VAULT}/backupJobs?{API}", None, "operator", "decision", 200),
    ("DELETE", f"{item('vm3')}?{API}", None, "reader", "observation", 403),
)
BESIDES = (
    ("GET", f"{VAULT}/backupJobs?{API}", None),
    ("GET", f"{item('vm2')}/recoveryPoints?{API}", None),
    ("DELETE", f"{item('vm3')}?{API}", None),
    ("POST", f"{item('vm4')}/backup?{API}", BACKUP),
)


class Client(threading.Thread):
    """One request whose answer is waited for elsewhere."""

    def __init__(self, world, method, target, token, body):
        super().__init__(daemon=True)
        self.asked = (method, target, token, body)
        self.world, self.answer, self.error = world, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.world.send(*self.asked)
        except Exception as error:  # told where it is waited for
            self.error = error

    def end(self):
        self.join()
        hold(self.answer is not None, f"a client got no answer: {self.error!r}")
        return self.answer


class Control:
    """What is written without a sync and so must not survive."""

    def __init__(self, folder):
        self.folder = folder
        self.place = folder / "control"
        with open(self.place, "wb") as file:
            file.write(bytes(CONTROL))
            file.flush()
            os.fsync(file.fileno())
        self.marks = {}

    def write(self, name):
        """In place when the file is there: that is how the log writes its records."""
        mark = os.urandom(CONTROL)
        path = self.folder / name
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(mark)
        self.marks[name] = mark

    def check(self, folder):
        for name, mark in self.marks.items():
            copied = folder / name
            survived = copied.exists() and copied.read_bytes() == mark
            hold(not survived, f"`{name}` was never synced, yet it is in the copy: "
                               "this machine writes back by itself, so nothing can be told")

    def forget(self, name):
        (self.folder / name).unlink()
        del self.marks[name]


def stopped(pid):
    """Whether every thread stands still, so that nothing more can be written."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
        if state not in "Tt":
            return False
    return True


def freeze(world, identity):
    """At the next request of this identity the emulator stops the gateway and holds the answer."""
    halt = ["sh", "-c", f"kill -STOP {world.gateway.pid}"]
    rule = {"match": {"identity": identity, "surface": "arm"},
            "fault": {"kind": "freeze", "command": halt}, "times": 1}
    world.control("POST", "faults", rule)


def besides(world, token, receipts):
    """Other traffic, so that the record in question is not alone in the log."""
    clients = [Client(world, method, target, token, body) for method, target, body in BESIDES]
    for client in clients:
        receipts.take(client.end())


class Cut:
    """What was known at the moment of the cut."""

    def __init__(self, world, disk, receipts, control, number):
        self.journal = world.journal()
        self.receipts = len(receipts)
        # Checkpoints that left the gateway: they bind what the copy must hold.
        self.anchor = disk.folder / "anchor"
        source = there(world.env["VAULTGATE_ANCHOR"])
        self.anchor.write_bytes(pathlib.Path(source[0]).read_bytes() if source else b"")
        control.write(f"new-{number}")
        self.image = disk.cut()

    def arrived(self, identity):
        """The request at which the gateway was stopped."""
        sent = [e for e in self.journal if e["identity"] == identity and e["surface"] == "arm"]
        return sent[-1]


def trial(world, disk, receipts, control, number):
    method, target, body, identity, kind, status = MOMENTS[(number - 1) % len(MOMENTS)]
    token = world.token("operator")
    besides(world, token, receipts)
    control.write("control")
    freeze(world, identity)
    client = Client(world, method, target, token, body)
    try:
        until("the request to arrive", lambda: world.control("GET", "frozen")["frozen"]
              or not client.is_alive())
        hold(client.is_alive(), f"nothing arrived under {identity}: {client.answer}")
        until("the gateway to stand still", lambda: stopped(world.gateway.pid))
        cut = Cut(world, disk, receipts, control, number)
    finally:
        world.gateway.send_signal(signal.SIGCONT)
        world.control("DELETE", "faults")
        world.control("POST", "thaw")
    answer = client.end()
    hold(answer.status == status, f"after the thaw: {answer}")
    with disk.opened(cut.image) as folder:
        control.check(folder)
        told = judge(world, folder / "gateway/log", cut, receipts, cut.arrived(identity), kind)
    control.forget(f"new-{number}")
    receipts.take(answer)
    return f"{identity} {method}: {told}"


def judge(world, log, cut, receipts, entry, kind):
    """The copied log holds what arrived, and whatever was promised before."""
    own = entry["client_request_id"]
    record = record_of(log, own, kind)
    hold(record, f"{entry['method']} {entry['path']} arrived, and its {kind} {own} would be lost")
    hold(len(receipts) == cut.receipts, "a receipt came after the cut")
    kept = receipts.check(log)
    code = verified(log, world.env["VAULTGATE_LOG_KEY"], there(cut.anchor))
    journal = cut.anchor.with_name("journal.json")
    journal.write_text(json.dumps(cut.journal), encoding="utf-8")
    said = oracle(journal, log)
    return f"record {record['seq']} survives; {kept} receipts kept; verify {code}; {said}"


def oracle(journal, log):
    """Everything that arrived until the cut, not only the last, stands in the copy."""
    words = [sys.executable, REPOSITORY / "tests/oracle/oracle.py"]
    words += ["--journal", journal, "--log", log]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    hold(done.returncode == 0, f"the oracle found in the copy:\n{done.stdout[-3000:]}{done.stderr}")
    return done.stdout.splitlines()[-1]


def play(disk, trials):
    passed = failed = 0
    receipts = Receipts()
    control = Control(disk.path)
    world = World.start(extra=UNLIMITED, replace=[SMALL, FAST], data=disk.path / "gateway")
    with world:
        for number in range(1, trials + 1):
            try:
                print(f"{number}: {trial(world, disk, receipts, control, number)}", flush=True)
                passed += 1
            except AssertionError as error:
                print(f"FAILED {number}: {error}", flush=True)
                failed += 1
                break
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    trials = parser.parse_args().trials
    # Whoever ends this test must not leave a mount or changed knobs behind; after a SIGKILL
    # the next run cleans up.
    for ending in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        disk = Disk()
    except NotHere as why:
        print(f"arrivals: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    try:
        passed, failed = play(disk, trials)
    finally:
        disk.close()
    print(f"arrivals: {passed} passed, {failed} failed")
    return 0 if failed == 0 and passed else 1


if __name__ == "__main__":
    sys.exit(main())
