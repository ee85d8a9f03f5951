"""Hostile documents: at the start, when there are no keys, and later, when there are.

All of them at once, each from an issuer of its own: what one does must not help another.
With `--full` one after the other as well, so that each is held to a bound of its own.
Mended, each is in use again, which also shows that it was its trouble that was refused.
"""

import concurrent.futures
import itertools
import time

from hostile_answers import ANSWERS, INTRUDER
from hostile_idp import COOLDOWN
from meter import Meter
from renewing import ask
from stage import ATTEMPTS, Wrong, compared, hold
from world import until

# Longest that discovery and keys may take together, and what a busy machine adds.
FETCH, SLACK = 5.0, 2.5
# All documents at once, each of which may be held up to its bound; a bomb is larger alone.
MEBIBYTES, ALONE = 48, 8


def realms(idp, _):
    for name, hostile in ANSWERS.items():
        idp.realm(name).trouble = hostile.trouble


class Trial:
    """One hostile answer against the gateway, asked about from an address of its own: tokens
    are counted by address, and what is judged here is the answer."""

    sources = itertools.count(2)

    def __init__(self, world, realm, hostile):
        self.world, self.realm, self.hostile = world, realm, hostile
        number = next(self.sources)
        self.source = f"127.2.{number // 250}.{number % 250 + 2}"

    def ask(self, token):
        began = time.monotonic()
        met = ask(self.world, token, self.source)
        took = time.monotonic() - began
        hold(took <= FETCH + SLACK, f"an answer after {took:.1f} s: {met}")
        return met

    def refused(self, token, reasons=None):
        met = self.ask(token)
        status, _, reason = met.partition(" ")
        hold(status in ("401", "503"), f"met {met}")
        hold(not reasons or reason in reasons, f"met {met}, not {reasons}")

    def keyless(self):
        """There never was an honest answer."""
        began = len(self.realm.fetched)
        until("a fetch", lambda: (self.refused(self.hostile.token(self.realm), self.hostile.reasons),
                                  len(self.realm.fetched) > began)[1])

    def mended(self):
        """An honest answer, and the honest caller is served; the intruder is not."""
        self.realm.trouble = None
        # What goes on may go on until its time is over, then a cool-down passes.
        until("honest keys to be taken", self.served, FETCH + COOLDOWN + SLACK)
        self.refused(self.hostile.token(self.realm))

    def served(self):
        if not self.hostile.keeps:
            # The name of the honest key is taken: only an unknown one asks for a fetch.
            self.ask(self.realm.token("k1", kid="no-such-key"))
        return self.ask(self.realm.token("k1")) == "200"

    def keyed(self):
        """The last good keys are used while the answers are hostile again."""
        self.realm.trouble = self.hostile.trouble
        began = len(self.realm.fetched)
        until("a fetch", lambda: (self.refused(self.realm.token(INTRUDER, kid="no-such-key")),
                                  len(self.realm.fetched) > began)[1])
        self.refused(self.hostile.token(self.realm))
        met = self.ask(self.realm.token("k1"))
        hold(met == "200" or not self.hostile.keeps, f"the last good keys are not used: {met}")
        self.realm.trouble = None

    def whole(self):
        self.keyless()
        self.mended()
        self.keyed()

    def again(self):
        """Once more, where there have been honest keys before."""
        self.keyed()
        self.mended()


class Together:
    """Several answers at the same time, beside an honest client of another issuer."""

    def __init__(self, stage, idp, names):
        self.stage = stage
        self.trials = {name: Trial(stage.world, idp.realms[name], ANSWERS[name]) for name in names}
        self.before = stage.calm()

    def play(self, act):
        """Does this with each; what came of it, and the instants between which it was done."""
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(len(self.trials)) as pool:
            going = {name: pool.submit(act, trial) for name, trial in self.trials.items()}
        self.during = began, time.monotonic()
        return going

    def others_served(self):
        for left in reversed(range(ATTEMPTS)):
            phases = [self.during, self.before, self.stage.calm()]
            during, *quiet = (self.stage.steady.window(*phase) for phase in phases)
            try:
                compared(during, *quiet)
                return f"{quiet[0]} -> {during}"
            except Wrong:
                if not left:
                    raise
            self.before = phases[-1]
            self.play(Trial.keyed)


def together(stage, idp, names, report, label="hostile", most=MEBIBYTES, act=Trial.whole):
    trials = Together(stage, idp, names)
    with Meter(stage.pid) as meter:
        going = trials.play(act)
    for name, trial in going.items():
        report.case(f"{label}-{name}", trial.result)
    report.case(f"{label}-memory", lambda: (
        hold(meter.grown <= most, f"{meter.grown:.1f} MiB"), f"+{meter.grown:.1f} MiB")[1])
    report.case(f"{label}-answers-are-left", lambda: until(
        "the gateway to leave", lambda: not idp.going, FETCH + SLACK) and "none goes on")
    report.case(f"{label}-others-served", trials.others_served)


def judge_says_no(stage, idp):
    """An answer that is not hostile, judged as if it were."""
    name = "text-html"
    realm = idp.realms[name]
    trial = Trial(stage.world, realm, ANSWERS[name])
    try:
        trial.refused(realm.token("k1"))
    except AssertionError as said:
        return f"as it must: {said}"
    raise AssertionError("an accepted token was taken for a refused one")


def cases(stage, idp, chosen, report):
    names = [name for name in ANSWERS if report.wants(f"hostile-{name}")]
    if names:
        together(stage, idp, names, report)
    if chosen.full:
        for name in names:
            together(stage, idp, [name], report, f"alone-{name}", ALONE, Trial.again)
    if "text-html" in names:
        report.case("hostile-judge-says-no", lambda: judge_says_no(stage, idp))
