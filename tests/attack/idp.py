#!/usr/bin/env python3
"""The identity provider in trouble, beside callers who must not notice.

    idp.py [--full] [--seconds S] [--rotations N] [WORD...]     WORD: only cases whose name holds it

Down, slow, flooded with keys that it never had, changing its keys, hostile, lying about the
time: no intruder is let in, nobody waits longer than a fetch may take, at most one fetch
begins in a cool-down, memory stays bounded, callers whose keys are known and callers of other
issuers are served as before, and what was broken is in use again soon after it is mended.
"""

import argparse
import contextlib
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "corpus")]

import idp_down  # noqa: E402
import idp_hostile  # noqa: E402
import idp_keys  # noqa: E402
import idp_time  # noqa: E402
from floods import RATES, Report  # noqa: E402
from hostile_idp import Idp  # noqa: E402
from stage import Stage, hold  # noqa: E402
from world import World, free_port  # noqa: E402

PARTS = [idp_hostile, idp_time, idp_keys]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="longer storms, slower rotations, real time")
    parser.add_argument("--seconds", type=float, help="of each storm")
    parser.add_argument("--rotations", type=int, default=100, help="of the keys")
    parser.add_argument("words", nargs="*", metavar="WORD")
    chosen = parser.parse_args()
    chosen.seconds = chosen.seconds or (30.0 if chosen.full else 2.0)
    chosen.pace = 1.0 if chosen.full else 0.12
    report = Report(chosen.words)
    with contextlib.closing(Idp(free_port(), up=False)) as idp:
        for part in PARTS:
            part.realms(idp, chosen)
        with World.start(extra=RATES + idp.tables()) as world:
            with Stage.on(world, chosen.seconds, quiet=1.0) as stage:
                # Not before: what the first documents cost must be seen as well.
                idp.up()
                for part in PARTS:
                    part.cases(stage, idp, chosen, report)
                report.case("nobody was called from another's document",
                            lambda: hold(not idp.canary.asked, f"called: {idp.canary.asked}"))
                report.case("the gateway did not panic", lambda: hold(
                    "panicked at" not in world.console_text(), "it did"))
            report.case("the oracle holds", world.oracle)
    idp_down.cases(chosen, report)
    print(f"idp: {report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
