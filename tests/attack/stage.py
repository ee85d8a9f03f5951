"""One attack beside one honest client: started, measured, judged.

An attack is judged by what it did to others in the same run. The machine is shared, so the
comparison with the quiet phases has slack and may be repeated: a real slowdown is there each
time, a neighbour's build is not; where more programs run than there are processors, each
waits for its turn, and the slack grows with their number. What the gateway promises about memory and about ending a
connection is judged at once.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

from meter import Meter
from steady import Steady
from world import API, VAULT, until

HERE = pathlib.Path(__file__).resolve().parent
ATTACKER = "127.0.0.2"
# Against the quiet phases: how much slower the median answer, and how much less of them.
SLOWER, FEWER = 4.0, 0.5
# Below this a median is noise of the machine, whatever the ratio.
FLOOR = 0.020
# No honest request waits longer than this.
LONGEST = 5.0
ATTEMPTS = 3
FLOOD_GROWTH = 16


class Wrong(AssertionError):
    """An attack did what it must not."""


def hold(condition, what):
    if not condition:
        raise Wrong(what)


class Attack:
    """An attacker's process."""

    def __init__(self, job):
        self.process = subprocess.Popen([sys.executable, HERE / "attacker.py"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def line(self):
        """The next thing it says."""
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the attacker failed:\n{self.process.stderr.read()[-2000:]}")
        return json.loads(line)

    def end(self):
        """Tells it to end, and returns what it saw."""
        self.process.stdin.close()
        told = self.line()
        self.process.wait()
        return told

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Stage:
    """A world, its honest client, and the attacks on it."""

    def __init__(self, world, seconds, quiet):
        self.world, self.seconds, self.quiet = world, seconds, quiet
        self.token = world.token("operator")
        self.pid = world.gateway.pid
        self.before = None
        self.steady = Steady(url=world.url, ca=world.ca, target=f"{VAULT}?{API}", token=self.token)
        self.going = []
        until("the honest client", lambda: len(self.steady.rows) >= 50)

    def job(self, name, **more):
        return {"attack": name, "url": self.world.url, "ca": self.world.ca, "token": self.token,
                "source": ATTACKER, "seconds": self.seconds, "connections": 4, **more}

    def start(self, name, **more):
        attack = Attack(self.job(name, **more))
        self.going.append(attack)
        return attack

    def calm(self):
        """A quiet phase: the honest client alone."""
        until("the honest client's answer", self.steady.settled())
        began = time.monotonic()
        until("the quiet phase", lambda: time.monotonic() > began + self.quiet)
        return began, began + self.quiet

    def measured(self, name, **more):
        """Runs an attack between two quiet phases; what it told, its meter, both windows."""
        before = self.before or self.calm()
        with Meter(self.pid) as meter:
            told = self.start(name, **more).end()
        after = self.calm()
        self.before = after
        return told, meter, self.steady.window(*before), self.window(told), self.steady.window(*after)

    def window(self, told):
        until("the honest client's answer", self.steady.settled())
        return self.steady.window(told["began"], told["ended"])

    def attacked(self, name, judge, growth=FLOOD_GROWTH, **more):
        """Runs an attack and judges it; the line that tells about it."""
        for left in reversed(range(ATTEMPTS)):
            told, meter, before, during, after = self.measured(name, **more)
            judge(told)
            hold(meter.grown <= growth, f"memory grew by {meter.grown:.1f} MiB: {told}")
            try:
                compared(during, before, after)
            except Wrong:
                if not left:
                    raise
            else:
                break
        kept = {k: v for k, v in told.items() if k not in ("began", "ended")}
        return f"+{meter.grown:.1f} MiB, {meter.spent:.1f} s CPU; {before} -> {during}; {kept}"

    def stop(self):
        for attack in self.going:
            attack.kill()
        self.steady.stop()

    @classmethod
    @contextlib.contextmanager
    def on(cls, world, seconds, quiet):
        stage = cls(world, seconds, quiet)
        try:
            yield stage
        finally:
            stage.stop()


def crowding():
    """How many times over the processors are asked for; 1 where everybody has one."""
    return max(1.0, os.getloadavg()[0] / os.cpu_count())


def compared(during, *quiet):
    """The honest client is served as before: no errors, nearly as fast, nearly as often."""
    crowded = crowding()
    told = f"quiet {' / '.join(map(str, quiet))}, attacked {during}, crowding {crowded:.1f}"
    hold(during.latencies, f"the honest client got no answer: {told}")
    hold(not during.errors, f"the honest client met {during.errors[:5]}: {told}")
    hold(during.longest <= LONGEST, f"a request took {during.longest:.1f} s: {told}")
    usual = max(window.p50 for window in quiet)
    hold(during.p50 <= crowded * max(SLOWER * usual, FLOOR), f"slower: {told}")
    often = min(window.rate for window in quiet)
    hold(during.rate >= FEWER * often / crowded, f"served less: {told}")
