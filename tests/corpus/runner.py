#!/usr/bin/env python3
"""The corpora of hostile requests, byte by byte, against the real executable.

    runner.py [GROUP...] [--case WORD]      groups: http1 http2 paths bodies tokens

Starts emulator and gateway with a policy that allows everything to whoever is known: what
is refused here is refused by the gateway itself. After each case the emulator tells what
reached it. At the end the oracle judges the whole run, and everything that the gateway
gave away is searched for its Azure tokens.
"""

import argparse
import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import bodies  # noqa: E402
import http1  # noqa: E402
import http2  # noqa: E402
import leaks  # noqa: E402
import paths  # noqa: E402
import tokens  # noqa: E402
from judge import Report, Stage  # noqa: E402
from wire import Wire  # noqa: E402
from world import REPOSITORY, UNLIMITED, World  # noqa: E402

GROUPS = {"http1": "http1_raw", "http2": "h2_raw", "paths": "arm_paths", "bodies": "json_bodies",
          "tokens": "jwt_attacks"}
# Stalled requests are given up sooner, so that the run is not spent waiting.
QUICK = ("[listener]\n", '[listener]\nheader_timeout = "2s"\nbody_idle_timeout = "2s"\n')


def corpus(group, word):
    path = REPOSITORY / "tests/data/corpora" / f"{GROUPS[group]}.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    if word:
        kept = [c for c in found["cases"] if word in c.get("id", c.get("name", ""))]
        found["cases"] = kept
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--case", help="only cases whose name holds this")
    chosen = parser.parse_args()
    groups = chosen.groups or list(GROUPS)
    if set(groups) - set(GROUPS):
        parser.error(f"the groups are {', '.join(GROUPS)}")
    report, issuers = Report(), tokens.start()
    extra = UNLIMITED + tokens.configuration(issuers)
    try:
        with World.start(policies=HERE / "policy", extra=extra, replace=[QUICK]) as world:
            stage = Stage(world, Wire(world.url, world.ca))
            play(stage, groups, chosen.case, issuers, report)
    finally:
        issuers.stop()
    print(f"corpus: {report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed else 1


def play(stage, groups, word, issuers, report):
    token = stage.world.token("operator")
    for group in groups:
        found = corpus(group, word)
        before = report.passed, report.failed
        if group == "tokens":
            tokens.run(stage, found, issuers, report)
        else:
            module = {"http1": http1, "http2": http2, "paths": paths, "bodies": bodies}[group]
            module.run(stage, found["cases"], token, report)
        stage.world.control("POST", "reset")
        report.case(group, "the gateway still answers", lambda: stage.alive(token))
        stage.entries += stage.world.journal()
        print(f"{group}: {report.passed - before[0]} passed, {report.failed - before[1]} failed",
              flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as journal:
        journal.writelines(json.dumps(entry) + "\n" for entry in stage.entries)
        journal.flush()
        report.case("end", "the oracle holds", lambda: print(stage.world.oracle(journal.name)))
    if not word:
        report.case("end", "no secret of a body got out", lambda: leaks.hide(stage, token))
        report.case("end", "no Azure token got out", lambda: leaks.none(stage))
        report.case("end", "a planted leak is found", lambda: leaks.planted(stage, token))


if __name__ == "__main__":
    sys.exit(main())
