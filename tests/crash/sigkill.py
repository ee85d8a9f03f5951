#!/usr/bin/env python3
"""The gateway is killed under load, again and again, on one data folder.

    sigkill.py [--trials 50] [--seed N]

After every kill it must come up again on the same data. Whatever a client was answered stands
in the log (its receipt is of the record in that place), whatever reached Azure was recorded
before, and both verifiers find the log intact. What a client was *not* answered may or may
not have happened; it is recorded in either case, and the oracle sees to that.
"""

import argparse
import http.client
import itertools
import pathlib
import random
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from receipts import Receipts, there, verified  # noqa: E402
from world import API, UNLIMITED, VAULT, World, item, until  # noqa: E402

BACKUP = {"properties": {"objectType": "IaasVMBackupRequest"}}
# The store, the log and the clients are judged whole every so many trials.
JUDGED_EVERY = 10
LATEST_KILL = 0.4
REQUESTS = (
    ("GET", f"{VAULT}/backupJobs?{API}", None),
    ("POST", f"{item('vm1')}/backup?{API}", BACKUP),
    ("GET", f"{item('vm2')}/recoveryPoints?{API}", None),
    ("POST", f"{item('vm2')}/backup?{API}", BACKUP),
    # Denied by policy: denials are records as well.
    ("DELETE", f"{item('vm3')}?{API}", None),
    ("POST", f"{item('vm4')}/backup?{API}", BACKUP),
    # Refused before policy: no such operation.
    ("PUT", f"{VAULT}/somethingNew/x?{API}", {}),
)
WORKERS = 6
# Often enough that checkpoints leave the gateway within its short lives.
CHECKPOINTS = ('checkpoint_every = "2s"', 'checkpoint_every = "100ms"')


class Load:
    """Clients that go on for as long as there is a gateway, and wait while there is none."""

    def __init__(self, world, receipts):
        self.world, self.receipts = world, receipts
        self.up = threading.Event()
        self.over = threading.Event()
        self.count = threading.Lock()
        self.busy = 0
        self.answered = self.unanswered = 0
        self.strange = []
        self.statuses = {}
        self.token = None
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True)
                        for n in range(WORKERS)]

    def begin(self):
        for thread in self.threads:
            thread.start()

    def resume(self):
        # A new token for each life: the oldest would otherwise end within a long run.
        self.token = self.world.token("operator")
        self.up.set()

    def pause(self):
        """No new requests; returns when the ones under way have ended."""
        self.up.clear()
        until("the clients to notice", lambda: self.busy == 0)

    def end(self):
        self.over.set()
        self.up.set()
        for thread in self.threads:
            thread.join()

    def work(self, number):
        for method, target, body in itertools.cycle(REQUESTS[number:] + REQUESTS[:number]):
            self.up.wait()
            if self.over.is_set():
                return
            with self.count:
                self.busy += 1
            try:
                self.one(method, target, body)
            finally:
                with self.count:
                    self.busy -= 1

    def one(self, method, target, body):
        try:
            answer = self.world.send(method, target, self.token, body)
        except (OSError, http.client.HTTPException):
            # Killed before it could answer, or just not up: nothing was promised.
            with self.count:
                self.unanswered += 1
            return
        except Exception as error:  # a thread must not die in silence
            with self.count:
                self.strange.append(repr(error))
            return
        self.receipts.take(answer)
        with self.count:
            self.answered += 1
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            # A kill gives no answer; a gateway that is up has no reason for a 5xx.
            if answer.status >= 500:
                self.strange.append(repr(answer))


def judge(world, receipts):
    """Everything that must hold of a gateway that was killed and is up again."""
    kept = receipts.check(world.log)
    said = world.oracle()
    anchor = there(world.env["VAULTGATE_ANCHOR"])
    code = verified(world.log, world.env["VAULTGATE_LOG_KEY"], anchor)
    # A checkpoint that left the process covers something: only without one is 3 the answer.
    if code == 3 and anchor:
        raise AssertionError("a checkpoint left the gateway, yet nothing is anchored")
    every = world.folder / "receipts"
    receipts.write(every)
    verified(world.log, world.env["VAULTGATE_LOG_KEY"], [*anchor, *there(every)])
    return f"{kept} receipts kept; verify {code}; oracle {said}"


def trial(world, load, delay):
    """Load, a kill at `delay` after it began, and up again on the same data."""
    load.resume()
    # The kill is to fall anywhere, so this is a time and no state.
    threading.Event().wait(delay)
    if world.gateway.poll() is not None:
        raise AssertionError(f"the gateway ended by itself:\n{world.console_text()[-2000:]}")
    # Cleared first, or the clients would only knock at a closed port.
    load.up.clear()
    world.kill_gateway()
    load.pause()
    if world.sim.poll() is not None:
        raise AssertionError("the emulator was ended by somebody else: this run tells nothing")
    world.start_gateway()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    dice = random.Random(chosen.seed)
    receipts, passed, failed = Receipts(), 0, 0
    with World.start(extra=UNLIMITED, replace=[CHECKPOINTS]) as world:
        load = Load(world, receipts)
        load.begin()
        for number in range(1, chosen.trials + 1):
            delay = dice.uniform(0, LATEST_KILL)
            judged = number % JUDGED_EVERY == 0 or number == chosen.trials
            try:
                trial(world, load, delay)
                told = judge(world, receipts) if judged else f"{len(receipts)} receipts"
                if load.strange:
                    raise AssertionError(f"a client met {load.strange[:3]}")
                passed += 1
                print(f"{number}: killed after {delay * 1000:.0f} ms; {told}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"FAILED {number}, killed after {delay * 1000:.0f} ms: {error}", flush=True)
                break
        load.end()
        print(f"{load.answered} answered, {load.unanswered} not; {load.statuses}")
    if failed == 0 and not receipts.kept:
        print("FAILED no client ever got an answer: nothing was tried")
        failed += 1
    print(f"sigkill: {passed} passed, {failed} failed")
    return 0 if failed == 0 and passed else 1


if __name__ == "__main__":
    sys.exit(main())
