#!/usr/bin/env python3
"""Attacks on availability, over TLS against the real executable.

    floods.py [--full] [--seconds S] [WORD...]      WORD: only attacks whose name holds it

Beside every attack an honest client in its own process asks on; it must be served without
an error and about as fast as in the quiet phases before and after. The gateway's memory
stays bounded, and the attacking connections are closed or bounded. `--full` floods longer
and holds 10,000 idle connections instead of 1,000.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "corpus")]

import crowd  # noqa: E402
import records  # noqa: E402
import slow  # noqa: E402
from frames import CALM, FLOODS  # noqa: E402
from stage import Stage, hold  # noqa: E402
from world import UNLIMITED, World  # noqa: E402

# Those who stall are given up sooner, so that the run is not spent waiting.
TIMEOUT = 2
# Who does not take an answer is given up later than who does not ask.
ANSWER = 6
QUICK = ("[listener]\n", f'[listener]\nhandshake_timeout = "{TIMEOUT}s"\n'
         f'header_timeout = "{TIMEOUT}s"\nbody_idle_timeout = "{TIMEOUT}s"\n'
         f'answer_timeout = "{ANSWER}s"\n')
# Rates without a limit, connections with the limits of a configuration that names none.
RATES = UNLIMITED[:UNLIMITED.index("[limits.connections]")]
# Habits that take longer than the others: they go on beside everything else, on a gateway
# of their own, whose memory they may take without being mistaken for others.
LASTING = ("answer-unread", "answer-unread-h2", "answers-unread-h2")
SLACK = 2.0
# A large answer that Azure gives.
LARGE = json.dumps({"value": [{"id": "x" * 900}] * 950})
MEBIBYTES_OF_CROWDS = 32
# What answers that nobody reads may take: some 280 were asked for, of 0.9 MiB each.
MEBIBYTES_OF_ANSWERS = 384


class Report:
    """Counts and tells."""

    def __init__(self, words):
        self.words = words
        self.passed = self.failed = 0

    def wants(self, name):
        return not self.words or any(word in name for word in self.words)

    def case(self, name, check):
        if not self.wants(name):
            return
        try:
            print(f"{name}: {check() or 'ok'}", flush=True)
            self.passed += 1
        except Exception as error:  # any trouble of an attack is its failure
            self.failed += 1
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            print(f"FAILED {name}: {kind}{error}", flush=True)


# --- what must have happened to the attacker ------------------------------------------

def flooded(flood):
    def judge(told):
        hold(told["units"] >= flood.least, f"this was no flood: {told}")
        if flood.ended:
            # The last connections may be cut off by the end of the attack itself.
            least = told["opened"] - flood.connections
            hold(told["closed"] >= least and told["closed"], f"not closed: {told}")
        if flood.ended == CALM:
            hold(str(CALM) in told["goaway"], f"closed without saying why: {told}")
    return judge


def put_up_with(seconds):
    def judge(told):
        hold(told["left"] == 0, f"still there after {told['ended'] - told['began']:.0f} s: {told}")
        hold(told["longest"] <= seconds + SLACK, f"put up with for too long: {told}")
    return judge


def served(told):
    hold(told.get("version") == "TLSv1.3" and told.get("status") == 401, f"not served: {told}")


def refused(told):
    hold("refused" in told, f"not refused: {told}")


def refused_version(told):
    hold("PROTOCOL_VERSION" in str(told.get("refused")), f"not refused for its version: {told}")


def cut(told):
    hold(told["over"], f"the connection goes on: {told}")
    hold(not told["clear"], f"answered without TLS: {told}")
    hold(told["seconds"] <= TIMEOUT + SLACK, f"put up with for too long: {told}")


TRICKS = {
    "hello-in-records-of-a-byte": served,
    "hello-in-segments-of-a-byte": served,
    "tls12-hello": refused_version,
    "tls12-hello-in-records-of-a-byte": refused_version,
    "request-in-records-of-a-byte": served,
    "records-of-a-byte": lambda told: hold(told["closed"] or told["units"] >= 1_000, f"{told}"),
    "certificate-large": refused,
}


# --- the attacks ------------------------------------------------------------------------

def floods(stage, report):
    for name, flood in FLOODS.items():
        report.case(name, lambda: stage.attacked(
            name, flooded(flood), connections=flood.connections,
            seconds=max(stage.seconds, flood.lasts)))


def tricks(stage, report):
    for name in records.TRICKS:
        judge = TRICKS.get(name, cut)
        seconds = stage.seconds if name == "records-of-a-byte" else TIMEOUT + 2 * SLACK
        # Most are over in an instant: judged together below.
        report.case(name, lambda: stage.attacked(name, judge, seconds=seconds)
                    if name == "records-of-a-byte"
                    else crowd.told(stage.start(name, seconds=seconds), judge))


@contextlib.contextmanager
def lasting(chosen, report):
    """The lasting habits from here to the end of the block, where they are judged."""
    names = [name for name in LASTING if report.wants(name)]
    if not names:
        yield
        return
    with quick_world() as world, Stage.on(world, chosen.seconds, chosen.seconds / 2) as stage:
        together = crowd.Together(stage, names, seconds=ANSWER + SLACK, connections=2)
        yield
        for name in names:
            report.case(name, lambda: crowd.told(together.attacks[name], put_up_with(ANSWER + SLACK)))
        report.case("lasting-clients-together", lambda: together.judged(MEBIBYTES_OF_ANSWERS))


def habits(stage, report):
    """The slow ones, all at once: each is a crowd of its own."""
    names = [name for name in slow.HABITS if name not in LASTING and report.wants(name)]
    if not names:
        return
    together = crowd.Together(stage, names, seconds=TIMEOUT + 2 * SLACK, connections=20)
    for name in names:
        report.case(name, lambda: crowd.told(together.attacks[name], put_up_with(TIMEOUT)))
    report.case("slow-clients-together", lambda: together.judged(MEBIBYTES_OF_CROWDS))


@contextlib.contextmanager
def quick_world():
    """A gateway that gives up stalled clients soon, and an Azure that has large answers."""
    with World.start(extra=RATES, replace=[QUICK]) as world:
        large = {"kind": "wrong-body", "body": LARGE, "content_type": "application/json"}
        world.control("POST", "faults", {"match": {"path_contains": "backupJobs"}, "fault": large})
        yield world


def with_quick_timeouts(chosen, report):
    with quick_world() as world:
        with Stage.on(world, chosen.seconds, chosen.seconds / 2) as stage:
            began = time.monotonic()
            floods(stage, report)
            tricks(stage, report)
            habits(stage, report)
            whole = stage.steady.window(began, time.monotonic())
            report.case("no honest request failed in all this", lambda: (
                hold(not whole.errors, f"it met {whole.errors[:5]}"), str(whole))[1])
        report.case("the oracle holds", world.oracle)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="longer floods, 10,000 connections")
    parser.add_argument("--seconds", type=float, help="of each flood")
    parser.add_argument("words", nargs="*", metavar="WORD")
    chosen = parser.parse_args()
    chosen.seconds = chosen.seconds or (5.0 if chosen.full else 0.8)
    report = Report(chosen.words)
    # Both ends of every connection are on this machine; children inherit the limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = 10_000 if chosen.full else 1_000
    with lasting(chosen, report):
        with_quick_timeouts(chosen, report)
        if most < count + 1_000:
            print(f"not run: {count} idle connections need more than {most} descriptors")
            report.failed += bool(os.environ.get("CI"))
        else:
            crowd.idle(count, RATES, report)
    print(f"floods: {report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
