#!/usr/bin/env python3
"""Changes one condition of the policy library at a time and expects a test to notice.

    mutate.py [--sample N [--seed S]] [--only TEXT]

A condition is dropped or negated, or lets pass what nobody told; a boundary moves by one; a
constant becomes another; a set or an array loses an element. What people read stays: comments,
messages, controls. A mutant that no test can tell stands in `survivors.json`, by its id and
with the reason; ids hold no line numbers, so that they outlive edits elsewhere.
"""

import argparse
import collections
import concurrent.futures
import difflib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from world import REPOSITORY, program  # noqa: E402

BUNDLE = REPOSITORY / "policies"
LISTED = HERE / "survivors.json"
# More of them than this share of all mutants would hide missing tests.
SHARE = 0.05
# Longest time of the tests of one mutant; one that hangs them is noticed as well.
PATIENCE = 120

TOKEN = re.compile(r"""
    (?P<space>[ \t]+|\#[^\n]*) | (?P<line>\n) | (?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)
    | (?P<number>\d+) | (?P<word>[A-Za-z_]\w*) | (?P<mark>[:=!<>]=|[-+*/%<>=.,;:|(){}\[\]])
""", re.VERBOSE)
CLOSING = {"(": ")", "[": "]", "{": "}"}
OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
            "true": "false", "false": "true"}
NEIGHBOUR = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
# A count over another time: it looks right for as long as both counts are the same.
OTHER = {'"1h"': '"24h"', '"24h"': '"1h"', '"30d"': '"24h"'}
# Members of a denial: its form, and what is said to people.
SAID = {'"message"', '"control"', '"rule"'}
FORM = SAID | {'"code"'}

Token = collections.namedtuple("Token", "kind text start end items", defaults=[()])
# `near` names the tests that probably tell it.
Mutant = collections.namedtuple("Mutant", "id file near before after")


def tokens(text, name):
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match or match.group() == "else":
            raise SystemExit(f"`{name}`: no mutants are written for `{text[at:at + 30]}`")
        if match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), at, match.end())
        at = match.end()


def grouped(stream, until=None):
    """Tokens, of which each bracket holds what stands in it; its text is the opening one."""
    found = []
    for token in stream:
        if token.text == until:
            return found, token.end
        if token.text in CLOSING:
            items, end = grouped(stream, CLOSING[token.text])
            token = Token("group", token.text, token.start, end, items)
        found.append(token)
    return found, None


def parts(items, marks):
    """What stands between these marks; empty parts are none."""
    found = [[]]
    for token in items:
        if token.text in marks:
            found.append([])
        elif token.kind != "line":
            found[-1].append(token)
    return [part for part in found if part]


def place(items, text):
    """Where the first token of this text stands; none when there is none."""
    return next((index for index, token in enumerate(items) if token.text == text), None)


class Rule:
    """One rule, and all mutants of it."""

    def __init__(self, file, text, items):
        self.file, self.text, self.found = file, text, []
        self.name = items[items[0].text == "default"].text
        self.near = f"vaultgate_test.{pathlib.Path(file).stem}."
        code = re.search(r'"code": "([^"]*)"', text[items[0].start:items[-1].end])
        if code:
            self.name += f" {code[1]}"
            self.near = "test_" + code[1].replace("-", "_")
        head = place(items, "if")
        self.constants(items[:head])
        if head is not None:
            body = items[head + 1:]
            self.body(body[0].items if body[0].text == "{" else body)

    def add(self, token, kind, *changes):
        """The mutant that has these changes: each from, until, and what stands there then."""
        line = slice(self.text.rfind("\n", 0, token.start) + 1, self.text.find("\n", token.start))
        after = self.text
        for start, end, instead in sorted(changes, reverse=True):
            after = after[:start] + instead + after[end:]
        identity = f"{self.file}: {self.name}: {self.text[line].strip()}: {kind}"
        self.found.append(Mutant(identity, self.file, self.near, self.text, after))

    def body(self, items):
        for statement in parts(items, ("\n", ";")):
            self.condition(statement)

    def condition(self, statement):
        first, start, end = statement[0], statement[0].start, statement[-1].end
        self.add(first, "dropped", (start, end, "true"))
        if first.text == "every":
            self.constants(statement[:-1])
            self.body(statement[-1].items)
            return
        self.constants(statement)
        # What binds a name has no opposite.
        if first.text == "some" or place(statement, ":=") is not None or "\n" in self.text[start:end]:
            return
        swapped = [(token.start, token.end, OPPOSITE[token.text]) for token in statement
                   if token.kind == "mark" and token.text in OPPOSITE]
        if first.text == "not":
            bare = (start, statement[1].start, "")
            self.add(first, "negated", bare)
            if swapped:
                self.add(first, "unknown let pass", bare, *swapped)
        else:
            self.add(first, "negated", *(swapped or [(start, start, "not ")]))

    def constants(self, items):
        """Mutants of what an expression is made of."""
        for index, token in enumerate(items):
            before = items[index - 1] if index else None
            if token.kind == "group":
                calls = before is not None and before.end == token.start
                binds = items[index + 1:] and items[index + 1].text == ":="
                self.group(token, literal=not calls and not binds and token.text != "(")
            elif token.text in NEIGHBOUR or token.text in ("true", "false"):
                self.change(token, NEIGHBOUR.get(token.text) or OPPOSITE[token.text])
            elif token.kind == "string":
                self.change(token, OTHER.get(token.text, '"mutant"'))
            elif token.kind == "number":
                # A minus with nothing before it is part of the number.
                minus = index == 1 and before.text == "-"
                value = -int(token.text) if minus else int(token.text)
                for other in (value + 1, value - 1):
                    self.add(token, f"{value} -> {other}",
                             (before.start if minus else token.start, token.end, str(other)))

    def change(self, token, other):
        self.add(token, f"{token.text} -> {other}", (token.start, token.end, other))

    def group(self, group, literal):
        bar = place(group.items, "|")
        if bar is not None:
            self.constants(group.items[:bar])
            self.body(group.items[bar + 1:])
            return
        members = parts(group.items, ",")
        if group.text == "{" and place(group.items, ":") is not None:
            for key, value in (parts(member, ":") for member in members):
                if key[0].text not in FORM:
                    self.constants(key)
                if key[0].text not in SAID:
                    self.constants(value)
            return
        for index, member in enumerate(members if literal else ()):
            self.lose(group, members, index)
        for member in members:
            # A set without an element or with another one for it: one mutant is enough.
            if not (literal and group.text == "{" and member[0].kind == "string"):
                self.constants(member)

    def lose(self, group, members, index):
        first, last = members[index][0], members[index][-1]
        if len(members) == 1:
            change = (group.start, group.end, "set()" if group.text == "{" else "[]")
        elif index:
            change = (members[index - 1][-1].end, last.end, "")
        else:
            change = (first.start, members[1][0].start, "")
        lost = self.text[first.start:last.end].splitlines()[0]
        self.add(first, f"without {lost}", change)


def generated():
    """Every mutant of the library, in the order of its files."""
    found, seen = [], collections.Counter()
    for path in sorted(BUNDLE.rglob("*.rego")):
        if path.name.endswith("_test.rego"):
            continue
        file, text = path.relative_to(BUNDLE).as_posix(), path.read_text(encoding="utf-8")
        for items in parts(grouped(tokens(text, file))[0], "\n"):
            if items[0].text not in ("package", "import"):
                found += Rule(file, text, items).found
    for index, mutant in enumerate(found):
        # Equal changes of equal lines are told apart by their number.
        seen[mutant.id] += 1
        if seen[mutant.id] > 1:
            found[index] = mutant._replace(id=f"{mutant.id} #{seen[mutant.id]}")
    return found


def policy(*words):
    """The exit code of `vaultgate policy` and what it says; no code when it had to be ended."""
    try:
        done = subprocess.run([program("vaultgate"), "policy", *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout


def judged(mutant):
    """What became of it: `killed` by a test, `not admitted` as a bundle, or `survived`."""
    with tempfile.TemporaryDirectory(prefix="vaultgate-mutate-") as folder:
        copy = shutil.copytree(BUNDLE, pathlib.Path(folder) / "policies")
        (copy / mutant.file).write_text(mutant.after, encoding="utf-8")
        code, told = policy("test", copy, "--run", mutant.near)
        if code == 0:
            code, told = policy("test", copy)
        # Tests that break without failing may have met what no gateway would load.
        if code == 2 and "\nFAIL: " not in told and policy("check", copy)[0] != 0:
            return "not admitted"
    return {0: "survived", 2: "killed", None: "killed"}.get(code, "not admitted")


def all_judged(mutants):
    """What became of each, by id, as many at a time as there are processors."""
    verdicts, began = {}, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            running = {pool.submit(judged, mutant): mutant for mutant in mutants}
            for future in concurrent.futures.as_completed(running):
                verdicts[running[future].id] = future.result()
                done, took = len(verdicts), time.monotonic() - began
                if done % 20 == 0:
                    left = took / done * (len(mutants) - done)
                    print(f"{done} of {len(mutants)}, {left:.0f} s left", file=sys.stderr)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return verdicts


def difference(mutant):
    """The lines that the mutant has changed."""
    lines = difflib.unified_diff(mutant.before.splitlines(), mutant.after.splitlines(), lineterm="", n=0)
    return "".join(f"\n  {line}" for line in list(lines)[3:])


def chosen(mutants, options):
    found = [mutant for mutant in mutants if (options.only or "") in mutant.id]
    if not found:
        raise SystemExit(f"there is no mutant `{options.only}`")
    if options.sample is None:
        return found
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    return random.Random(seed).sample(found, min(options.sample, len(found)))


def complaints(mutants, verdicts, listed):
    """What fails: survivors that nobody listed and, once all were tried, what the list is to lose."""
    for mutant in mutants:
        if verdicts.get(mutant.id) == "survived" and mutant.id not in listed:
            yield f"SURVIVED {mutant.id}{difference(mutant)}"
    if len(verdicts) == len(mutants):
        for identity in listed:
            if verdicts.get(identity) != "survived":
                why = verdicts.get(identity, "no longer a mutant")
                yield f"LISTED {identity}\n  {why}: remove it from {LISTED.name}"
    if len(listed) > SHARE * len(mutants):
        yield f"TOO MANY {len(listed)} of {len(mutants)} mutants are listed in {LISTED.name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, at random")
    parser.add_argument("--seed", type=int, metavar="S", help="which ones")
    parser.add_argument("--only", metavar="TEXT", help="only those whose id contains this")
    options = parser.parse_args()
    # Whoever ends this ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    code, told = policy("test", BUNDLE)
    if code != 0:
        raise SystemExit(f"not green before any mutant:\n{told[-3000:]}")
    mutants, listed = generated(), json.loads(LISTED.read_text(encoding="utf-8"))
    verdicts = all_judged(chosen(mutants, options))
    for identity, verdict in verdicts.items():
        if verdict == "not admitted":
            print(f"not admitted {identity}")
    failed = list(complaints(mutants, verdicts, listed))
    for complaint in failed:
        print(complaint)
    counts = collections.Counter(verdicts.values())
    print(f"{len(verdicts)} mutants: {counts['killed']} killed, {counts['not admitted']} not admitted, "
          f"{counts['survived']} survived; {len(listed) / len(mutants):.1%} are listed")
    passed = sum(verdict != "survived" or identity in listed for identity, verdict in verdicts.items())
    print(f"mutate: {passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
