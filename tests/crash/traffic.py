"""The requests that the suites of this folder send: one of each kind that matters here.

A read, a backup (its job is followed), a restore (kept going when space runs short), a change
that policy denies, and one that is refused before policy: denials are records as well. `Clients` send them and keep what
they were told.
"""

import collections
import itertools
import pathlib
import sys
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from receipts import hold  # noqa: E402
from world import API, PROD, VAULT, item  # noqa: E402

GROUP = f"/subscriptions/{PROD}/resourceGroups/rg1"
BACKUP = {"properties": {"objectType": "IaasVMBackupRequest"}}


def read():
    return "GET", f"{VAULT}/backupJobs?{API}", None


def backup(name="vm1"):
    return "POST", f"{item(name)}/backup?{API}", BACKUP


def denied(name="vm3"):
    return "DELETE", f"{item(name)}?{API}", None


def unknown():
    return "PUT", f"{VAULT}/somethingNew/x?{API}", {}


def points(world, token, name="vm2"):
    """Names of the recovery points of a virtual machine."""
    answer = world.send("GET", f"{item(name)}/recoveryPoints?{API}", token)
    if answer.status != 200:
        raise AssertionError(f"the recovery points cannot be listed: {answer}")
    return [point["name"] for point in answer.json()["value"]]


def restore(point, name="vm2"):
    """The disks of a virtual machine, put back beside it."""
    properties = {
        "objectType": "IaasVMRestoreRequest",
        "recoveryPointId": point,
        "recoveryType": "RestoreDisks",
        "sourceResourceId": f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}",
        "storageAccountId": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/sa1",
        "targetResourceGroupId": GROUP,
        "region": "westeurope",
        "createNewCloudService": False,
        "originalStorageAccountOption": False,
    }
    target = f"{item(name)}/recoveryPoints/{point}/restore?{API}"
    return "POST", target, {"properties": properties}


class Clients:
    """A few clients for a while: what they were told, and how long it took."""

    WORKERS = 3
    # What a gateway may say that cannot record or remember at the moment.
    STABLE = ("log-unavailable", "store-unavailable")

    def __init__(self, world, receipts, point):
        self.world, self.receipts = world, receipts
        self.token, self.point = world.token("operator"), point
        self.requests = (read(), backup(), denied(), restore(point), unknown(), backup("vm4"))
        self.lock = threading.Lock()
        self.answered = 0
        self.refused = collections.Counter()
        self.strange = []
        self.slowest = 0.0
        self.accepted = []

    def send(self, request, key=None):
        """One request, under a key of its own, so that the store has its part in it."""
        method, target, body = request
        key = key or str(uuid.uuid4())
        began = time.monotonic()
        answer = self.world.send(method, target, self.token, body, {"Idempotency-Key": key})
        took = time.monotonic() - began
        self.receipts.take(answer)
        with self.lock:
            self.slowest = max(self.slowest, took)
            if answer.status < 500:
                self.answered += 1
            else:
                self.refused[answer.reason()] += 1
                told = answer.status == 503 and answer.header("retry-after")
                if not told or answer.reason() not in self.STABLE:
                    self.strange.append(repr(answer))
            if answer.status == 202:
                self.accepted.append((request, key))
        return answer

    def each_once(self):
        return [self.send(request) for request in self.requests]

    def go(self, enough, longest, least=0):
        """Load until it is enough, each client `least` requests at least."""
        self.begin(enough, longest, least)()

    def begin(self, enough, longest, least=0):
        """The same, beginning now; returns what waits for its end."""
        end = time.monotonic() + longest

        def work(number):
            turn = self.requests[number:] + self.requests[:number]
            for done, request in enumerate(itertools.cycle(turn)):
                if done >= least and (enough() or time.monotonic() > end):
                    return
                try:
                    self.send(request)
                except Exception as error:  # a thread must not die in silence
                    with self.lock:
                        self.strange.append(repr(error))
                    return

        threads = [threading.Thread(target=work, args=(n,)) for n in range(self.WORKERS)]
        for thread in threads:
            thread.start()
        return lambda: [thread.join() for thread in threads]

    def check(self, soon):
        """Everybody was answered in time, and refused only by a stable reason."""
        hold(not self.strange, f"a client met {self.strange[:2]}")
        hold(self.slowest < soon, f"a client waited {self.slowest:.1f} s for its answer")

    def repeat(self, last=4):
        """Repeats changes that were accepted: none of them may be sent a second time."""
        before = len(self.world.forwarded(method="POST"))
        for request, key in self.accepted[-last:]:
            answer = self.send(request, key)
            # A stall of the machine is no answer.
            while answer.reason() == "policy-timeout":
                answer = self.send(request, key)
            hold(answer.status in (202, 409), f"a repeated change was answered {answer}")
        after = len(self.world.forwarded(method="POST"))
        hold(after == before, f"{after - before} accepted changes were sent a second time")
