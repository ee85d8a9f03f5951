#!/usr/bin/env python3
"""A hostile Azure behind the real gateway: nothing of what it does reaches a caller.

    rogue.py [GROUP...] [--full]

Groups: splitting, smuggling, redirects, reserved, oversized, cuts, links, reflected, facts,
identity. Each answer of the hostile server (`rogue_arm.py`) is one case; the caller is a raw
socket. `--full` ends the answer at every byte; otherwise at every so many. At the end of each
group all that left the gateway is searched for its Azure tokens, the log is verified in two
languages, and the gateway still serves.
"""

import argparse
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
for folder in ("clients", "corpus", "crash"):
    sys.path.insert(0, str(HERE.parent / folder))

import rogue_answers as answers  # noqa: E402
import rogue_cuts as cuts  # noqa: E402
import rogue_facts as facts  # noqa: E402
import rogue_links as links  # noqa: E402
import rogue_tokens as tokens  # noqa: E402
from receipts import there, verified  # noqa: E402
from rogue_stage import Report, Stage  # noqa: E402

# Cases of these groups would see each other: in the pool, in memory, in the log.
ONE_BY_ONE = {"smuggling", "oversized", "identity"}
GROUPS = {
    "splitting": answers.splitting, "smuggling": answers.smuggling, "redirects": answers.redirects,
    "reserved": answers.reserved, "oversized": answers.oversized, "cuts": cuts.cases,
    "links": links.cases, "reflected": tokens.reflected, "facts": facts.cases, "identity": tokens.identity,
}
# Groups of one gateway: whatever one of them left behind, the next one meets.
WORLDS = (
    (("splitting", "redirects", "reserved", "links", "cuts"), {"inventory": links.inventory}),
    (("smuggling", "oversized"), {}),
    (("reflected",), {}),
    (("facts",), {"policies": facts.bundle}),
    (("identity",), {"authority": True}),
)


def after(stage):
    """What holds of a gateway when all is over."""
    def searched():
        return tokens.none(stage)

    def verifies():
        stage.world.stop_gateway()
        key, anchor = stage.world.env["VAULTGATE_LOG_KEY"], there(stage.world.env["VAULTGATE_ANCHOR"])
        return f"verify {verified(stage.world.log, key, anchor)}"

    def lured():
        if stage.lure.hits:
            raise AssertionError(f"the lure was called: {stage.lure.hits[:3]}")

    yield "every request that arrived is on the record", stage.recorded
    yield "nobody called the lure", lured
    yield "the gateway still serves", stage.serves
    yield "no token left the gateway", searched
    yield "the log verifies", verifies


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--full", action="store_true", help="end answers at every byte")
    chosen = parser.parse_args()
    if set(chosen.groups) - set(GROUPS):
        parser.error(f"the groups are {', '.join(GROUPS)}")
    report = Report()
    for groups, how in WORLDS:
        wanted = [name for name in groups if not chosen.groups or name in chosen.groups]
        if not wanted:
            continue
        how = {name: value() if name == "policies" else value for name, value in how.items()}
        with Stage.on(**how) as stage:
            stage.full = chosen.full
            for name in wanted:
                began, before = time.monotonic(), report.passed + report.failed
                cases = list(GROUPS[name](stage))
                if name in ONE_BY_ONE:
                    for case in cases:
                        report.case(*case)
                else:
                    # Sweeps bring their own crowd.
                    report.together(cases, 3 if name == "cuts" else 40)
                print(f"-- {name}: {report.passed + report.failed - before} cases, {time.monotonic() - began:.1f} s")
            for what, check in after(stage):
                report.case(f"{'+'.join(wanted)}: {what}", check)
    print(f"rogue: {report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
