#!/usr/bin/env python3
"""What the long suites saw, added up: docs/reliability.jsonl becomes docs/reliability.md.

    tests/reliability.py            writes docs/reliability.md anew
    tests/reliability.py --check    fails if docs/reliability.md is not what the data gives, or if
                                    no commit has every total
    tests/reliability.py --totals [COMMIT]
                                    fails unless the commit (this one) has every total, and no failure
    tests/reliability.py --commit SUITE
                                    names the last commit that changed what a suite tries

Each line of the data is one finished part of `tests/run --long`, or one run of a fuzz target,
with the commit that was tested. It counts for a later commit as long as nothing that the suite
tries has changed in between: a new text does not undo a million trials, a new line of code does.
"""

import collections
import functools
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA, PAGE = ROOT / "docs/reliability.jsonl", ROOT / "docs/reliability.md"
MINUTES = 60
FUZZED = ("resource_id", "classify", "body", "token", "segment", "config", "bundle")
# What each suite shows, the command of one part, and the trials that are wanted in all.
SUITES = {
    "sigkill": (
        "SIGKILL under load at a random instant, then a start on the same data",
        "python3 tests/crash/sigkill.py --trials 30 --seed N", 1_000),
    "arrivals": (
        "power cut: a snapshot of a loop-mounted ext4 at a random instant, then a start on it",
        "python3 tests/crash/arrivals.py --trials 30", 1_000),
    "restart": (
        "with a million records, starts after an orderly end, after a kill under load, and after a "
        "kill between a key and its record: each to its `ready` line in at most two seconds, and "
        "the log verifies afterwards",
        "python3 tests/crash/restart.py --records 1000000", 4),
    "mutated": (
        "mutated targets and bodies, each understood as an independent reader understands it",
        "VAULTGATE_MUTATIONS=30000 VAULTGATE_SEED=N cargo test --release -p vaultgate-arm --test mutated",
        1_000_000),
    "generated": (
        "generated targets, bodies, framing, streams and tokens over sockets; what reaches the "
        "emulator is read by its own parser as the operation on record",
        "VAULTGATE_GENERATED=37500 VAULTGATE_SEED=N cargo test --release -p vaultgate --test it "
        "-- generated::",
        # Four of five are targets and bodies, of which there are to be a million.
        1_250_000),
    "faults": (
        "the n-th call to the disk fails under the whole executable, n up to 200, drawn by a seed",
        "python3 tests/crash/faults.py --trials 30 --seconds 600 --seed N", 500),
    "floods": (
        "floods of five seconds each, slow clients, broken TLS records, 10,000 idle connections",
        "tests/attack/floods.py --full", 50),
    "idp": (
        "the identity provider in trouble, storms of half a minute, 100 rotations of its keys",
        "tests/attack/idp.py --full", 60),
    "upstream": (
        "a hostile Azure: answers ended and stalled after every byte of every framing",
        "tests/attack/upstream.py --full", 25),
    "rogue": (
        "a hostile Azure before changes, facts and polls: answers ended after every byte",
        "tests/attack/rogue.py --full", 680),
    "races": (
        "one approval used four times at the same instant, over two gateways on one PostgreSQL, some "
        "with a gateway killed meanwhile: exactly one is sent",
        "python3 tests/approvals/races.py --races 300 --seed N", 10_000),
    "consumed": (
        "the gateway dies at each step between record, use and sending of an approved request: sent "
        "once at most, and used up when it was on record",
        "python3 tests/approvals/crashes.py --trials 30 --seed N", 1_000),
}
# Suites that came later: nothing is wanted of a commit that did not have them.
LATER = {"races": "tests/approvals/races.py", "consumed": "tests/approvals/crashes.py"}
# What a suite tries, when it is less than the whole product.
PRODUCT = ("gateway", "policies", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml")
TRIES = {
    "mutated": ("gateway/arm",),
    # The judges of attacks are part of what is tried: they were mended when they were first
    # run in full, on a crowded machine.
    "floods": (*PRODUCT, "tests/attack/floods.py", "tests/attack/slow.py", "tests/attack/frames.py"),
    "idp": (*PRODUCT, "tests/attack/idp*.py", "tests/attack/hostile_*.py"),
    "upstream": (*PRODUCT, "tests/attack/upstream*.py", "tests/clients/world.py"),
    "rogue": (*PRODUCT, "tests/attack/rogue*.py", "tests/clients/world.py"),
    "fuzz-resource_id": ("gateway/arm",),
    "fuzz-classify": ("gateway/arm",),
    "fuzz-body": ("gateway/arm",),
    "fuzz-segment": ("gateway/decision-log",),
    "fuzz-bundle": ("gateway/pdp",),
    # Its finding was of the runner: a time limit that a busy machine does not keep.
    "fuzz-token": ("gateway/src/authn", "gateway/src/authn.rs", "gateway/src/clock.rs", "tests/fuzz/run"),
    "fuzz-config": ("gateway/src/config", "gateway/src/config.rs"),
}
# Suites whose cases follow from the seed alone. A part of them that failed is run again, and
# counts as it was then: what fails once and not again, of the very same cases, is the machine's.
# A crash or a power cut has its instant for itself, and a failure there stays one.
REPEATABLE = {"generated", "mutated", "floods", "idp", "upstream", "rogue"}
FUZZ = "fuzz target `{}`, coverage-guided"


def parts():
    """The finished parts, in the order in which they ended."""
    return [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines() if line]


@functools.cache
def commit_of(suite, at="HEAD"):
    """The last commit up to this one that changed what a suite tries."""
    asked = ["git", "log", "-1", "--format=%h", "--abbrev=7", at, "--", *TRIES.get(suite, PRODUCT)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@functools.cache
def has(suite, at):
    """Whether a commit has this suite."""
    asked = ["git", "cat-file", "-e", f"{at}:{LATER.get(suite, 'tests/run')}"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


class Tally:
    """What one suite saw on one commit."""

    def __init__(self):
        self.trials = self.failures = self.seconds = 0
        # Parts that failed and were run again.
        self.again = 0

    def add(self, part):
        self.trials += part["trials"]
        self.failures += part["failures"]
        self.seconds += part.get("seconds", 0)


def tallies():
    """Tallies by suite and by the commit that last changed what it tries; in the order of
    their last part."""
    found, counted, every = {}, {}, parts()
    for part in every:
        if part["suite"] in REPEATABLE:
            counted[part["suite"], part["commit"], part["seed"]] = part
    for part in every:
        key = part["suite"], commit_of(part["suite"], part["commit"]) or part["commit"]
        tally = found.pop(key, None) or Tally()
        last = counted.get((part["suite"], part["commit"], part["seed"]), part)
        if last is part:
            tally.add(part)
        else:
            tally.again += 1
        found[key] = tally
    return found


def missing(at="HEAD"):
    """What a commit lacks."""
    lacks, found = [], tallies()
    for suite, (_, _, wanted) in SUITES.items():
        if not has(suite, at):
            continue
        tally = found.get((suite, commit_of(suite, at)), Tally())
        if tally.trials < wanted or tally.failures:
            lacks.append(f"{suite}: {tally.trials:,} of {wanted:,}, {tally.failures} failed")
    for target in FUZZED:
        suite = f"fuzz-{target}"
        tally = found.get((suite, commit_of(suite, at)), Tally())
        if tally.seconds < 30 * MINUTES or tally.failures:
            lacks.append(f"fuzz {target}: {tally.seconds // MINUTES} of 30 minutes, "
                         f"{tally.failures} findings")
    return lacks


def complete():
    """The newest commit that has every total without a failure; none if there is none."""
    tried = dict.fromkeys(part["commit"] for part in reversed(parts()))
    return next((commit for commit in tried if not missing(commit)), None)


def row(commit, suite, tally):
    if suite in SUITES:
        what, command, wanted = SUITES[suite]
        again = f" ({tally.again} run again)" if tally.again else ""
        return (f"| {what} | `{command}` | `{commit}` | {tally.trials:,} of {wanted:,} | "
                f"{tally.failures}{again} |")
    target = suite.removeprefix("fuzz-")
    return (f"| {FUZZ.format(target)} | `tests/fuzz/run {target} --minutes 30` | `{commit}` | "
            f"{tally.trials:,} in {tally.seconds // MINUTES} min | {tally.failures} |")


def page():
    whole = complete()
    told = (f"Commit `{whole}` has every total, without a failure (`tests/reliability.py --totals {whole}`)."
            if whole else "**No commit has every total yet.**")
    lines = [INTRODUCTION.strip(), "", "## Totals", "", told, "",
             "| what | command of one part | commit | trials | failures |", "|---|---|---|---:|---:|"]
    found = tallies()
    commits = list(dict.fromkeys(commit for _, commit in reversed(found)))
    order = [*SUITES, *(f"fuzz-{target}" for target in FUZZED)]
    lines += [row(commit, suite, found[suite, commit])
              for commit in commits for suite in order if (suite, commit) in found]
    return "\n".join([*lines, "", REST.strip(), ""])


INTRODUCTION = """
# Reliability

Written by `tests/reliability.py` from [reliability.jsonl](reliability.jsonl): change the data by
running the suites, not this text. The long suites go on where they stopped and add to the data:

```sh
tests/run --long --minutes 60
tests/reliability.py
```

`tests/reliability.py --totals COMMIT` fails unless that commit, or the one that is checked out, has
every total without a failure. The commit named is the last one that changed what the suite tries (all of
the product; for the readers of ids, requests and bodies their crate, and so for segments,
bundles, tokens and configurations); what was tried stays tried until then. A failure stays in the data: what came of it
stands in the CHANGELOG. Where the cases follow from the seed alone, a part that failed is run again and
counts as it was then; how many were stands beside.
"""

REST = """
## In every run of the tests

`tests/run` runs a slice of all of it. Each of these can fail: [tests/mutants](../tests/mutants)
takes guards away one by one and names the test that must go red.

| step | what holds |
|---|---|
| `sigkill` | 50 kills under load: what was answered stands in the log, what reached Azure was recorded before, both verifiers find the log whole |
| `arrivals` | 30 power cuts on a file system of its own: the same, with unsynced data lost |
| `faults` | the n-th write, sync or rename of the whole executable fails with EIO, ENOSPC or half done: nothing is forwarded after it, callers get 503, the next start comes up by itself |
| `full` | the disk fills while serving: reads are refused first, restores go on from the emergency space, and freed space ends it without a restart |
| `clock` | the wall clock jumps by hours and by ten years and back: what has ended stays ended, changes are refused as `clock-untrusted` |
| `restart` | starts on a long log, orderly and killed |
| `floods` | HTTP/2 floods, slow clients, broken TLS records, idle crowds: memory bounded, others served |
| `scan` | testssl.sh and sslyze find nothing but the development certificate |
| `idp` | the identity provider down, slow, flooded with unknown keys, changing its keys 100 times, hostile in every document, lying about the time: nobody let in, at most one fetch in a cool-down, memory bounded, others served |
| `upstream`, `rogue` | split, cut, endless, redirecting and reflecting answers of Azure: whole or none, no URL past the gateway, a change sent once, the gateway's own token in nothing that left it, a lie never taken for a fact |
| `generated`, `corpus` | every request that reached the emulator is read by it as the operation on record |
| `mutant` | five guards taken away at random: the named test goes red |

## Not covered

- A power cut is a snapshot of the block device at an instant with writers stopped: what a disk
  reorders within one write, or loses although it said it was flushed, is not tried.
- Faults are injected into calls of the C library; reads that fail and mapped memory are not.
- Real Azure: the emulator is the upstream, and its own parser the judge.
- The gateway's own token is found in an answer as it is written. Whoever stands in Azure's place
  has it already, and may hand it out in pieces, or spelled otherwise.
- Floods come from one machine over loopback; distributed ones, IPv6 and the proxy protocol do not.
- Runs of hours: memory is judged over a million requests ([performance.md](performance.md)).
- More than one replica: there is none yet.
"""


def main():
    if "--totals" in sys.argv:
        named = [word for word in sys.argv[1:] if not word.startswith("-")]
        lacks = missing(named[0] if named else "HEAD")
        if lacks:
            print("\n".join(lacks))
            sys.exit("the commit lacks totals; hint: tests/run --long")
        print("every total is there, and no failure")
    elif "--commit" in sys.argv:
        print(commit_of(sys.argv[-1]))
    elif "--check" in sys.argv:
        if not complete():
            sys.exit("no commit has every total; hint: tests/run --long")
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE.relative_to(ROOT)} is not what the data gives; hint: tests/reliability.py")
        print("1 passed, 0 failed")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
