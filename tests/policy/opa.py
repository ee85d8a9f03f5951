#!/usr/bin/env python3
"""Our evaluation of Rego beside Open Policy Agent's own, on the same rules and the same inputs.

    opa.py [--seed N] [--cases N] [--only TEXT] [--show TEXT]

What others write and test with Open Policy Agent must mean the same here. Three things are compared,
on builtin errors that are errors: packages that are made up by a seed, over every builtin and every
form that admission takes; the tests of the policy library; and its decisions on some hundred inputs,
made of the helpers of its own tests and then damaged. Both have the same value, both none, or both
an error. What is known to differ stands in EXPECTED, with the reason; anything else fails, and so
does a known difference that is met too often to be what it is taken for.
"""

import argparse
import base64
import binascii
import collections
import copy
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

from opa_cases import ARGUMENTS, SHARED, admitted, packages  # noqa: E402
from world import CACHE, REPOSITORY, program  # noqa: E402

ENGINE = "opa-golib-python-bindings==0.4.4"
LIBRARY = REPOSITORY / "policies"
# How many packages stand in one bundle: each question costs a little for each of them.
TOGETHER = 40
# What one known difference may be of all comparisons.
SHARE = 0.02
# How often one problem is told in full.
TOLD = 5
MINIMAL = """package vaultgate

default decision := {"allow": false, "deny": [], "grants": [], "obligations": []}
"""


# --- the two engines ------------------------------------------------------------------

@dataclass
class Verdict:
    """How a question ended: `value`, `undefined`, `error`, or `refused` before it was asked."""

    kind: str
    value: object = None

    def __str__(self):
        if self.kind == "value":
            return json.dumps(self.value, ensure_ascii=False)
        return self.kind if self.value is None else f"{self.kind}: {' '.join(str(self.value).split())}"


def exact(value):
    """A value that equals another only where JSON's do: `1` is `1.0` and is not `true`."""
    if isinstance(value, bool) or value is None:
        return (value,)
    if isinstance(value, list):
        return [exact(member) for member in value]
    if isinstance(value, dict):
        return {name: exact(member) for name, member in value.items()}
    return value


def same(one, other):
    return one.kind == other.kind and (one.kind != "value" or exact(one.value) == exact(other.value))


class NotHere(Exception):
    """This machine cannot do it: no network, or another processor."""


def load_opa():
    """Open Policy Agent as a library; fetched once."""
    folder = CACHE / "opa"
    if not (folder / "opa_bindings").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        # It asks for a newer Python than it needs.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                   "--python-version", "3.14", "--dest", folder, ENGINE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotHere(done.stderr.strip())
        shutil.unpack_archive(next(folder.glob("*.whl")), folder, "zip")
    sys.path.insert(0, str(folder))
    try:
        import opa_bindings
        opa_bindings.OpaEngine().close()
    except OSError as error:
        raise NotHere(error) from error
    return opa_bindings


class Opa:
    """Open Policy Agent with these files. What it does not take it says when it is asked."""

    library = None

    def __init__(self, files):
        self.engine, self.refusal = Opa.library.OpaEngine(), None
        for path, text in files.items():
            if path.endswith(".json"):
                self.engine.add_data(json.loads(text), ".".join(pathlib.Path(path).parent.parts))
                continue
            try:
                self.engine.add_policy(path, text)
            except Opa.library.OpaError as error:
                self.refusal = Verdict("refused", error.message)

    def ask(self, document, given):
        return self.refusal or self.told(lambda: self.engine.eval_document(document, given))

    def query(self, query, given=None):
        """The value of `x` in a query."""
        return self.told(lambda: self.engine.eval_query(query, given)[0]["x"])

    def told(self, evaluate):
        try:
            return Verdict("value", evaluate())
        except (Opa.library.OpaUndefinedError, IndexError):
            return Verdict("undefined")
        except Opa.library.OpaError as error:
            return Verdict("refused" if error.code == "prepare_error" else "error", error.message)


class Ours:
    """What `vaultgate` answers to pairs of query and input; it begins at once."""

    def __init__(self, bundle, questions):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8")
        self.answers = tempfile.TemporaryFile("w+", encoding="utf-8")
        for query, given in questions:
            self.file.write(json.dumps({"query": query, "input": given}) + "\n")
        self.file.flush()
        self.count = len(questions)
        command = [program("vaultgate"), "policy", "eval", "--bundle", bundle, "--batch", self.file.name]
        self.running = subprocess.Popen(command, stdout=self.answers, stderr=subprocess.PIPE, text=True)

    def verdicts(self):
        _, told = self.running.communicate()
        self.answers.seek(0)
        answers = [json.loads(line) for line in self.answers]
        self.file.close()
        self.answers.close()
        if self.running.returncode != 0 or len(answers) != self.count:
            raise SystemExit(f"vaultgate: {len(answers)} answers to {self.count} questions: {told.strip()}")
        return [self.verdict(answer) for answer in answers]

    @staticmethod
    def verdict(answer):
        if "error" in answer:
            return Verdict("error", answer["error"])
        if not answer:
            return Verdict("undefined")
        return Verdict("value", answer["result"][0]["expressions"][0]["value"])


# --- what is known to differ ----------------------------------------------------------

@dataclass
class Difference:
    """One question to which the two engines answer apart."""

    about: set
    rule: str
    given: object
    ours: Verdict
    theirs: Verdict
    calls: list = field(default_factory=list)  # arguments that the builtin may have been called with
    text: str = ""

    def any(self, holds):
        """Whether something holds of the arguments of a call, if they are of the types that it is about."""
        for call in self.calls:
            try:
                if holds(*call):
                    return True
            except (TypeError, AttributeError, OverflowError, ValueError, re.error):
                continue
        return False

    def lacks(self):
        """Whether an argument of the builtin is not in the input."""
        return any(member not in self.given for member in "abcd"[:len(self.calls[0])])

    def direction(self):
        """`shut` where we end with an error, which denies; else `open`."""
        return "shut" if self.ours.kind == "error" else "open"

    def __str__(self):
        name = self.rule.split(".")[-1]
        rules = [block for block in self.text.split("\n\n")
                 if name == "whole" or re.match(rf"(default )?{name}\b", block)]
        return "\n".join([f"--- {', '.join(sorted(self.about))}: {self.rule}", *rules,
                          f"    input  {json.dumps(self.given, ensure_ascii=False)}",
                          f"    ours   {self.ours}"[:700], f"    theirs {self.theirs}"[:700]])


def numbers(value):
    """All numbers in a value."""
    if isinstance(value, (list, dict)):
        for member in value.values() if isinstance(value, dict) else value:
            yield from numbers(member)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def wide(difference):
    """Beyond what 64 bits hold exactly."""
    found = [difference.given, difference.calls, difference.ours.value, difference.theirs.value]
    written = map(float, re.findall(r"\d+(?:e\+?\d+)?", difference.text))
    return any(abs(one) > 2**53 for one in [*numbers(found), *written])


def rounded(value):
    """A value whose numbers, also those within texts, have twelve digits."""
    if isinstance(value, str):
        return re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", lambda found: f"{float(found[0]):.12g}", value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.12g}" if abs(value) < 1e300 else str(value)
    if isinstance(value, dict):
        return {name: rounded(member) for name, member in value.items()}
    return [rounded(member) for member in value] if isinstance(value, list) else (value,)


def digits(difference):
    ours, theirs = difference.ours, difference.theirs
    return ours.kind == theirs.kind == "value" and rounded(ours.value) == rounded(theirs.value)


def keyed(value):
    """A value whose keys, where they are no text, have one form."""
    if isinstance(value, list):
        return [keyed(member) for member in value]
    if not isinstance(value, dict):
        return value
    named = {}
    for name, member in value.items():
        try:
            name = json.dumps(rounded(keyed(json.loads(name))), sort_keys=True)
        except ValueError:
            pass
        named[name] = keyed(member)
    return named


def keys(difference):
    ours, theirs = difference.ours, difference.theirs
    return ours.kind == theirs.kind == "value" and rounded(keyed(ours.value)) == rounded(keyed(theirs.value))


def unordered(value):
    if isinstance(value, list):
        return sorted((unordered(member) for member in value), key=repr)
    return {name: unordered(value[name]) for name in sorted(value)} if isinstance(value, dict) else (value,)


def order(difference):
    ours, theirs = difference.ours, difference.theirs
    return ours.kind == theirs.kind == "value" and unordered(ours.value) == unordered(theirs.value)


def foreign(text):
    return isinstance(text, str) and not text.isascii()


def dialect(pattern, text=""):
    """Where the two dialects of regular expressions part."""
    if re.search(r"\(\?x|\*\*|\\u|\{,|\{1001|\[\[a|&&|\\Q", pattern):
        return True
    return bool(re.search(r"\\[wdsb]", pattern)) and foreign(text)


def encoded(text):
    """Base64 that says more than it holds: bits that are over, line ends."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        back = base64.b64encode(base64.b64decode(plain + "=" * (-len(plain) % 4))).decode().rstrip("=")
    except (binascii.Error, ValueError):
        return False
    return back != plain


def plain_format(form, arguments):
    verbs = re.findall(r"%(.)", form.replace("%%", ""))
    if any(verb not in "sdv" for verb in verbs) or len(verbs) != len(arguments) or re.search(r"%$", form):
        return False
    types = {"s": (str,), "d": (int,), "v": (object,)}
    return all(isinstance(value, types[verb]) and not (verb == "d" and isinstance(value, bool))
               for verb, value in zip(verbs, arguments))


def day(instant):
    """The day of the month, in UTC."""
    instant = instant[0] if isinstance(instant, list) else instant
    return (datetime(1970, 1, 1) + timedelta(microseconds=int(instant) // 1000)).day


def escapes(difference):
    """Whether a text is written as JSON in which something may be escaped."""
    told = json.dumps([difference.given, difference.calls, difference.text])
    return (difference.ours.kind == difference.theirs.kind == "value" and re.search(r"\\u(00[01]|202)", told)
            and re.search(r"json\.marshal|sprintf", difference.text))


def plain_time(text):
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d+)?(Z|[+-][01]\d:\d\d)", text)


def astray(at, path):
    """Whether a path has an empty part, or goes on below what has no parts."""
    parts = path.split("/") if isinstance(path, str) else path
    if not parts or "" in parts:
        return True
    for part in parts:
        if isinstance(at, dict):
            at = at.get(part, {})
        elif isinstance(at, list) and str(part).isdigit():
            at = at[int(part)] if int(part) < len(at) else {}
        else:
            return True
    return False


@dataclass
class Expected:
    """A known difference: what it is about, when it may be met, and why it is there."""

    name: str
    about: str  # builtins or forms, one of which is meant
    holds: object
    reason: str
    met: collections.Counter = field(default_factory=collections.Counter)

    def takes(self, difference):
        return bool(difference.about & set(self.about.split(", ")) and self.holds(difference))


def calls(holds):
    return lambda difference: difference.any(holds)


def shut(difference):
    return difference.ours.kind == "error" and difference.theirs.kind != "error"


EVERYTHING = ", ".join(["language", *ARGUMENTS])
EXPECTED = [
    # The language.
    Expected("some after a run", "some after a run", lambda d: "duplicated definition" in str(d.ours.value),
             "`some i` after a statement that runs through something is an error here"),
    Expected("no collection", "language, library decision",
             lambda d: "`some .. in collection` expects" in str(d.ours.value),
             "`some x in y` where `y` is no collection is an error here, and no solution there"),
    Expected("looks further", "language, library decision", shut,
             "what cannot change the result is left out there; here it is evaluated, and may be an error"),
    # Numbers, and the order of types.
    Expected("digits", EVERYTHING, digits, "numbers have 53 bits here, and are written in another form"),
    Expected("keys", EVERYTHING, keys, "keys that are no text are written in another form, in another order"),
    Expected("wide numbers", EVERYTHING, wide, "whole numbers beyond 64 bits become floating-point ones"),
    Expected("order", EVERYTHING, order, "sets come before objects here, and after them there"),
    # Builtins that take less here.
    Expected("no text", "base64.is_valid, json.is_valid, net.cidr_is_valid, semver.is_valid",
             lambda d: shut(d) and d.any(lambda value: not isinstance(value, str)),
             "whether something is valid that is no text is an error here, and false there"),
    Expected("base64", "base64.decode, base64.is_valid, base64url.decode", calls(encoded),
             "bits that are over and line ends are not taken here"),
    Expected("versions", "semver.compare, semver.is_valid",
             calls(lambda *call: any(re.search(r"^v|(^|[.-])0\d|-$", text) for text in call)),
             "leading zeros, an empty part and a leading `v` are not taken here"),
    Expected("json", "json.is_valid, json.unmarshal",
             calls(lambda text: re.search(r"\\ud800|1e400|\[{150}", text)),
             "lone surrogates, numbers out of range and deep nesting are not taken here"),
    Expected("panic", "object.subset, regex.template_match, strings.count",
             lambda d: "panicked" in str(d.ours.value),
             "an empty array or text, or one that is too short, ends the engine; we deny"),
    # Builtins that take more here, or do something else.
    Expected("fractions", "array.slice, substring, format_int, bits.and, bits.or, bits.xor, bits.rsh, "
             "bits.negate", calls(lambda *call: any(isinstance(value, float) for value in call)),
             "a fraction for a whole number is undefined, empty or rounded here, and an error there"),
    Expected("nothing to search", "indexof, indexof_n", calls(lambda _, part: part == ""),
             "an empty text is found everywhere here, and is an error there"),
    Expected("bytes", "replace", calls(lambda text, part, _: part == "" and foreign(text)),
             "an empty text is found between bytes there"),
    Expected("replacements", "strings.replace_n", calls(lambda texts, _: len(texts) > 1 or "" in texts),
             "one is replaced after the other here, and all at once there"),
    Expected("overlaps", "strings.count", calls(lambda text, part: len(part) > 1 and part in text),
             "matches that overlap are counted here"),
    Expected("length of text", "count", calls(lambda text: any(c > "\uffff" for c in text)),
             "a character beyond the basic plane counts twice here"),
    Expected("letters", "lower, upper", calls(foreign),
             "all of Unicode's case mapping here, its simple one there"),
    Expected("escapes", "json.marshal, sprintf, language", escapes,
             "separators of lines, what is not printed, `<`, `>` and `&` have other escapes in JSON"),
    Expected("paths", "json.filter, json.remove",
             calls(lambda whole, paths: any(astray(whole, path) for path in paths) or len(paths) > 1),
             "a leading slash is a part of the name here; an empty path is all, or undefined; what lies "
             "below a scalar is not there; of two paths, one within the other, another one counts"),
    Expected("subsets", "object.subset",
             calls(lambda one, two: type(one) is not type(two) or [] in (one, two)
                   or not isinstance(one, (list, dict))),
             "scalars and values of two types are compared here, and an error there"),
    Expected("regular expressions", "regex.find_n, regex.match, regex.replace, regex.split, regex.is_valid",
             calls(lambda *call: dialect(*call[:2]) or dialect(*call[1::-1])),
             "`\\d`, `\\w`, `\\s` and `\\b` know all of Unicode here; the dialects differ in rare forms"),
    Expected("no expression", "regex.replace", lambda d: d.theirs.kind == "error",
             "an expression that is not valid is undefined here, and an error there"),
    Expected("split at nothing", "regex.split",
             calls(lambda pattern, _: pattern == r"\z" or re.match(pattern, "")),
             "an expression that matches nothing splits before the first and after the last character"),
    Expected("templates", "regex.template_match", lambda d: "error" in (d.ours.kind, d.theirs.kind),
             "delimiters that are not one character or do not pair are taken here, and an error there; "
             "what stands between them is looked at before the text is"),
    Expected("globs", "glob.match",
             calls(lambda glob, delimiters, _: re.search(r"[\[\]{}?]|\*\*", glob)
                   or set(delimiters or []) & {":", ",", "é", ""}),
             "brackets, braces, `?`, `**` and the delimiters `:` and `,` mean something else"),
    Expected("quoted globs", "glob.quote_meta", calls(lambda glob: set(glob) & set("[]{}?\\!")),
             "only `*` is quoted here"),
    Expected("addresses", "net.cidr_contains, net.cidr_is_valid",
             calls(lambda *call: any(re.search(r"::ffff:|(^|\.)0\d|/\+", text) for text in call)),
             "leading zeros and a plus are taken here; IPv4 addresses within IPv6 are no IPv4 addresses"),
    Expected("formats", "sprintf", calls(lambda form, arguments: not plain_format(form, arguments)),
             "verbs besides `%s`, `%d` and `%v`, widths, and arguments too many or too few"),
    Expected("formats of messages", "library decision", lambda d: re.search(r"%!\w\(", str(d.theirs)),
             "what is no text is put into a message by `%s` here"),
    Expected("times as text", "time.parse_rfc3339_ns", calls(lambda text: not plain_time(text)),
             "small letters, a space and a leap second are taken here, a comma and single digits there"),
    Expected("layouts", "time.parse_ns", lambda d: "error" in (d.ours.kind, d.theirs.kind),
             "single digits and text that goes on are taken here, a year alone there"),
    Expected("durations", "time.parse_duration_ns", calls(lambda text: "d" in text), "days are a unit there"),
    Expected("dates", "time.add_date", calls(lambda when, *_: day(when) > 28),
             "a day that the month has not is its last one or undefined here, and in the next month there"),
    Expected("zones", "time.clock, time.date, time.format, time.weekday, time.diff",
             calls(lambda *call: any(abs(value) > 5e18 for value in numbers(call))),
             "rules of zones after 2037 and before 1900"),
    Expected("names of zones", "time.format", calls(lambda when: len(when) > 2),
             "names of zones are offsets here, and an empty form is empty"),
    Expected("sizes", "units.parse, units.parse_bytes",
             calls(lambda text: "." in text or not re.fullmatch(r"\d+([KMGTPEkmgtpe]i?)?", text)),
             "units that are not known are undefined here, and an error there; `_` is taken"),
    Expected("numerals", "to_number", calls(lambda text: re.match(r"[ +.]|\d+\.$|0\d|1_", text)),
             "space around a number is taken here; signs, zeros and points that JSON has not there"),
]


class Report:
    """What was compared, and how it ended."""

    def __init__(self, show):
        self.show, self.agreed, self.unexpected = show, collections.Counter(), []
        self.refused, self.theirs_only = collections.Counter(), collections.Counter()
        self.problems = []

    def compare(self, difference):
        """Takes an answer of both, which are the same, mostly."""
        if same(difference.ours, difference.theirs):
            self.agreed[difference.ours.kind] += 1
            return
        for expected in EXPECTED:
            if expected.takes(difference):
                expected.met[difference.direction()] += 1
                if self.show and self.show in expected.name:
                    print(difference)
                return
        self.unexpected.append(difference)

    def known(self):
        return sum(sum(expected.met.values()) for expected in EXPECTED)

    def close(self):
        """Says all of it; the exit code."""
        compared = sum(self.agreed.values()) + self.known() + len(self.unexpected)
        for expected in EXPECTED:
            if sum(expected.met.values()) > max(SHARE * compared, 20):
                self.problems.append(f"the known difference `{expected.name}` is met too often")
        print(f"{compared} answers compared: the same value {self.agreed['value']}, both undefined "
              f"{self.agreed['undefined']}, both an error {self.agreed['error']}; refused {self.agreed['refused']}")
        print("known differences (shut: we end with an error, which denies):")
        for expected in sorted(EXPECTED, key=lambda one: -sum(one.met.values())):
            if expected.met:
                met = f"{expected.met['open']:5} open {expected.met['shut']:5} shut"
                print(f"  {met}  {expected.name}: {expected.reason}")
        unmet = [expected.name for expected in EXPECTED if not expected.met]
        print(f"not met this time: {', '.join(unmet) or 'none'}")
        for title, reasons in (("refused at admission", self.refused),
                               ("refused by Open Policy Agent, for its types", self.theirs_only)):
            print(f"{title}: {sum(reasons.values())} packages")
            for reason, count in reasons.most_common():
                print(f"  {count:5} {reason}")
        for difference in self.unexpected[:TOLD]:
            print(difference)
        if len(self.unexpected) > TOLD:
            print(f"... and {len(self.unexpected) - TOLD} more")
        for problem in self.problems:
            print(problem)
        failed = len(self.unexpected) + len(self.problems)
        print(f"opa: {compared - len(self.unexpected)} passed, {failed} failed")
        return 1 if failed else 0


# --- refused --------------------------------------------------------------------------

# What both take and read apart is refused at admission: a package, and what is said of it.
REFUSED = [
    ("r contains x.a if some x in input.l", "could have no value"),
    ("r[k] := x.a if some k, x in input.o", "could have no value"),
    ("r[x.a] := 1 if some x in input.l", "could have no value"),
    ("f(x) := x.a\n\nr contains f(x) if some x in input.l", "could have no value"),
    ("r contains {\"a\": [x.a]} if some x in input.l", "could have no value"),
    ("r contains sprintf(\"%v\", [x.a]) if some x in input.l", "could have no value"),
    ("r := input.a if input.b\n\nelse := 1", "with an `else`"),
    ("r[x].a := y if some x, y in input.o", "goes on behind a name"),
    ("r[x][y] := z if {\n\tsome x, o in input.o\n\tsome y, z in o\n}", "goes on behind a name"),
    ("a := 1\n\nr := data.gen", "whole package"),
    ("a := 1\n\nr := data.gen.p", "whole package"),
    ("a := 1\n\nr contains x if some x in data.gen.p", "whole package"),
    ("a := 1\n\nr if data.gen.p[input.k]", "whole package"),
    ("r := x if {\"k\": x} = input.o", "more members"),
    ("r contains x if walk(input, [_, {\"k\": x}])", "more members"),
    ("other := input.limit\n\nlimit := other\n\nr if {\n\tx := 1\n\tnot x > limit\n}", "has no value"),
    ("limit := 1\n\nr if count([limit | some limit in input.l]) > 1", "also that of a rule"),
    ("r if {\n\txs := input.l\n\tn := input.n\n\tnot array.slice(xs, 0, n) == [1]\n}", "has no value"),
    ("r if {\n\ts := input.s\n\tnot regex.replace(s, s, \"a\") == \"a\"\n}", "has no value"),
    ("r := x if {\"k\": x} := input.o", "more members"),
    ("r if input.o = {\"k\": _}", "more members"),
    ("r contains x if some {\"k\": x} in input.l", "more members"),
    ("f({\"k\": x}) := x\n\nr := f(input.o)", "more members"),
    ("f([{\"k\": x}]) := x\n\nr := f(input.l)", "more members"),
    ("f(x, x) := x\n\nr := f(1, 2)", "two parameters"),
    ("f(input) := input.x\n\nr := f({\"x\": 1})", "name of a document"),
    ("r if \"a\", 1 in input.o", "a key that is not there"),
    ("r := input.a in input.l", "as a value"),
    ("r := [input.a in input.l]", "as a value"),
    ("r if {\n\tsome x\n\tx != 1\n}", "gets no value"),
    ("r if {\n\tsome x\n\tnot x == 1\n}", "no value"),
    ("r if not startswith(input.s, \"a\")", "has no value"),
    ("r if not input.n > 5", "has no value"),
    ("r if not input.s in [1]", "has no value"),
    ("r if not 1 in input.l", "has no value"),
    ("r if not input.n + 1 == 2", "has no value"),
    ("r if not [input.n] == [1]", "has no value"),
    ("r if not input.o[input.n]", "has no value"),
    ("f(x) := x\n\nr if {\n\tx := 1\n\tnot f(x) == 2\n}", "has no value"),
    ("f(x) if x\n\nr if not f(input.s)", "has no value"),
    ("f(x) := x.a\n\ng(x) if x\n\nr if not g(f(input))", "has no value"),
    ("r if not count([x | some x in input.l; x.a]) == count(input.m)", "has no value"),
    ("r if not input.l[_] == 1", "`_` under `not`"),
    ("r if not input.l[x] == 1", "a name under `not`"),
    ("r if input.n == 1 with input.n as 1 with input.m as input.x", "second `with`"),
    ("a := input.n\n\nr if input.n == 1 with input.n as a", "goes through a rule"),
    ("default r := 1\n\ndefault r := 2", "has a default already"),
    ("r := x if count(input.l, x)", "takes 1 arguments and gets 2"),
]
TWO_FILES = [
    ("import input.a as x\n\nr := x", "import input.b as x\n\ns := x", "is another import elsewhere"),
    ("import input.a as x\n\nr := x", "x := 1\n\ns := x", "is a rule elsewhere"),
    ("f(1) := 2\n\nr := f(input.a)", "f(x) := 3", "goes on in another file"),
]


def refused(report):
    """Holds admission to what is read apart: refused here, whatever Open Policy Agent makes of it."""
    cases = [({"gen/p.rego": text}, told) for text, told in REFUSED]
    cases += [({"gen/p.rego": one, "gen/p_more.rego": other}, told) for one, other, told in TWO_FILES]
    for files, told in cases:
        files = {path: f"package gen.p\n\nimport rego.v1\n\n{text}\n" for path, text in files.items()}
        with tempfile.TemporaryDirectory(prefix="vaultgate-opa-") as folder:
            write_bundle(pathlib.Path(folder), [argparse.Namespace(files=files)])
            command = [program("vaultgate"), "policy", "check", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = [line for line in done.stderr.splitlines() if told in line and "gen/p" in line]
        if done.returncode == 0 or not problem:
            report.problems.append(f"{list(files.values())}: no `{told}` in `{done.stderr.strip()}`")
        report.agreed["refused"] += 1


# --- made up --------------------------------------------------------------------------

def write_bundle(folder, made):
    shutil.rmtree(folder, ignore_errors=True)
    files = {**SHARED, "vaultgate/decision.rego": MINIMAL,
             ".manifest": '{"revision": "1", "roots": ["vaultgate", "gen", "facts"], "rego_version": 1}'}
    for package in made:
        files.update(package.files)
    for path, text in files.items():
        path = folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def admit(folder, made, report):
    """Writes a bundle of those packages that admission takes, and gives them back."""
    while True:
        write_bundle(folder, made)
        command = [program("vaultgate"), "policy", "check", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return made
        told = dict(re.findall(r"^(?:error: )?(gen/\S+?\.rego)(?::\d+)?: (.*)", done.stderr, re.M))
        kept = [package for package in made if not told.keys() & package.files.keys()]
        if len(kept) == len(made):
            raise SystemExit(f"vaultgate policy check: {done.stderr.strip()}")
        for package in made:
            reasons = [told[path] for path in package.files if path in told]
            # The names in them are made up.
            report.refused.update(re.sub(r"`[^`]*`", "`…`", reason) for reason in reasons[:1])
        made = kept


def calls_of(package, rule, given):
    """The arguments that a builtin's package may have called it with."""
    arity = len(package.fixed)
    if rule.endswith(".constant"):
        return [package.fixed]
    own = [given.get(member) for member in "abcd"[:arity]]
    return [own, *([first, *own[1:]] for first in given["many"])] if arity else []


def generated(report, seed, count, only):
    """Compares what is made up."""
    missing = admitted().keys() ^ ARGUMENTS.keys()
    report.problems += [f"`{name}` is admitted and not tried, or the other way" for name in sorted(missing)]
    made = [package for package in packages(seed, count) if any(only in what for what in package.about)]
    with tempfile.TemporaryDirectory(prefix="vaultgate-opa-") as folder:
        for start in range(0, len(made), TOGETHER):
            together(report, pathlib.Path(folder) / "bundle", made[start:start + TOGETHER])
            print(f"{min(start + TOGETHER, len(made))} of {len(made)} packages, {report.known()} known "
                  f"differences, {len(report.unexpected)} others", file=sys.stderr)


def together(report, bundle, made):
    made = admit(bundle, made, report)
    asked = [(package, rule, given) for package in made for rule in package.rules for given in package.inputs]
    ours = Ours(bundle, [(f"data.{rule}", given) for _, rule, given in asked])
    theirs = []
    for package in made:
        opa = Opa({**SHARED, **package.files})
        theirs += [opa.ask(rule, given) for rule in package.rules for given in package.inputs]
    for (package, rule, given), our, their in zip(asked, ours.verdicts(), theirs):
        if their.kind == "refused" and (rule, given) != (package.rules[0], package.inputs[0]):
            continue
        if their.kind == "refused" and "rego_type_error" in their.value and "unsafe" not in their.value:
            # A question of types, which Open Policy Agent asks before any input is there.
            report.theirs_only[re.search(r"rego_type_error: ([\w. ]*)", their.value)[1]] += 1
            continue
        calls_, text = calls_of(package, rule, given), "\n\n".join(package.files.values())
        report.compare(Difference(package.about, rule, given, our, their, calls_, text))


# --- the library ----------------------------------------------------------------------

def library():
    files = {path.relative_to(LIBRARY).as_posix(): path.read_text(encoding="utf-8")
             for path in sorted(LIBRARY.rglob("*")) if path.name == "data.json" or path.suffix == ".rego"}
    return Opa(files)


def library_tests(report, opa):
    """The library's own tests, in both."""
    command = [program("vaultgate"), "policy", "test", LIBRARY, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"vaultgate policy test: {done.stderr.strip()}")
    tests = [test for test in json.loads(done.stdout) if "skip" not in test]
    names = [f"{test['package']}.{test['name']}" for test in tests]
    each = ", ".join(f'"{name}": [v | v := {name}]' for name in names)
    # In one question, unless one of them is an error.
    told = opa.query(f"x := {{{each}}}")
    for test, name in zip(tests, names):
        ours = Verdict("error", test["error"]) if "error" in test else Verdict("value", "fail" not in test)
        theirs = opa.ask(name.removeprefix("data."), None) if told.kind != "value" else None
        if theirs is None or theirs.kind == "value":
            held = [theirs.value] if theirs else told.value[name]
            # A test of several cases is an object of those that hold.
            cases = {case: True for case in test.get("sub_results", {})}
            theirs = Verdict("value", held == [cases or True])
        report.compare(Difference({"library test"}, name, None, ours, theirs))
    print(f"{len(tests)} tests of the library", file=sys.stderr)


def merged(one, other):
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return {**one, **{name: merged(one[name], other[name]) if name in one else other[name] for name in other}}


def variations(rng, helpers):
    """What a request may be besides plain."""
    def counts():
        return {"1h": rng.randrange(30), "24h": rng.randrange(80), "30d": rng.randrange(200)}

    def done(members):
        who = rng.choice(["principal", "person", "agent", "vault"])
        return {"activity": {who: merged(helpers["nothing"], members)}}

    scope = helpers[rng.choice(["staging", "prod", "staging_account", "foreign_account"])]
    body = {"targetId": scope, "url": "https://x.example/y", "n": [1, {"id": scope}]}
    status, seen = rng.choice(["ok", "unavailable"]), rng.choice([None, "2026-11-01T00:00:00Z"])
    share, lowered = rng.choice([None, 0.01, 0.5]), rng.choice(["properties.encryption", "soft_delete"])
    crossed = rng.sample(["region", "subscription", "tenant"], rng.randrange(3))
    return rng.choice([
        {"now": rng.choice(["2026-11-23T10:30:00Z", "2026-11-28T23:59:59.999Z", "2024-02-29T00:00:00Z"])},
        done({rng.choice(helpers["classes"]): counts()}),
        done({"vaults": {"1h": rng.randrange(6)}, "first_in_90d": False}),
        done({rng.choice(["items_weakened", "retention_days_removed"]): {"30d": rng.randrange(90)}}),
        {"activity": {"estate": {"delete_24h": rng.randrange(9), "delete_share_24h": share}}},
        {"principal": {"person": rng.choice(["alice", None]), "actors": [{"issuer": "i", "subject": "bot"}]}},
        {"principal": {"kind": rng.choice(["human", "workload", "agent", "flow", "unknown"])}},
        {"principal": {"roles": [f"backup.{rng.choice(['custodian', 'approver', 'operator'])}", "x"]}},
        {"flow": {"name": "nightly", "definition_digest": "d", "covers": rng.random() < 0.5}},
        {"incident": rng.choice([{"restore_fast_path": True}, {"break_glass": {"id": "1"}}])},
        {"facts": {"vault": {"status": status, "soft_delete": rng.choice(["Disabled", None, "On"])}}},
        {"facts": {"item": {"status": status, "newest_recovery_point": seen}}},
        {"request": {"delta": {"retention_days": -rng.randrange(40)}}},
        {"request": {"delta": {"lowered": {lowered: {"from": "on", "to": "off"}}}}},
        {"request": {"restore": {"kind": rng.choice(["alternate", "files", "original"]),
                                 "target": {"subscription": scope, "resource_group": scope, "account": scope},
                                 "crosses": crossed}}},
        {"request": {"body": {"properties": body}}},
        {"operation": {"body_unknown": rng.choice([[], ["/properties/x"]]), "reversible": False}},
        {"preflight": True}, {"resource": {"tags": {"env": "prod"}}},
    ])


def damaged(rng, request):
    """A request with one member anywhere in it that is missing, null or something else."""
    request = copy.deepcopy(request)
    at = request
    while True:
        name = rng.choice(sorted(at))
        if not isinstance(at[name], dict) or not at[name] or rng.random() < 0.3:
            break
        at = at[name]
    change = rng.choice(["missing", "missing", None, "", "x", 0, -1, 1e9, True, [], {}, ["x"], {"x": 1}])
    if change == "missing":
        del at[name]
    else:
        at[name] = change
    return request


def library_decisions(report, opa, seed, count):
    """The library's decisions, on requests that its tests' helpers make."""
    rng = random.Random(seed)
    helpers = opa.ask("vaultgate_test.request", None).value
    people = [helpers[name] for name in ("operator", "reader", "agent", "flow", "stranger", "custodian")]
    make = "x := data.vaultgate_test.request.request(input.who, input.class, input.id)"
    requests = []
    for n in range(count):
        given = {"who": people[n % len(people)], "class": rng.choice(helpers["classes"]),
                 "id": rng.choice([helpers[name] for name in ("item", "vault", "prod", "staging")])}
        request = opa.query(make, given).value
        for _ in range(rng.randrange(4)):
            request = merged(request, variations(rng, helpers))
        requests.append(damaged(rng, request) if rng.random() < 0.5 else request)
    ours = Ours(LIBRARY, [("data.vaultgate.decision", request) for request in requests])
    theirs = [opa.ask("vaultgate.decision", request) for request in requests]
    allowed = sum(verdict.kind == "value" and verdict.value["allow"] for verdict in theirs)
    print(f"{count} requests to the library, {allowed} of them allowed", file=sys.stderr)
    for request, our, their in zip(requests, ours.verdicts(), theirs):
        report.compare(Difference({"library decision"}, "decision", request, our, their))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=240, help="packages to make up, and requests")
    parser.add_argument("--only", default="", help="packages about this, and nothing of the library")
    parser.add_argument("--show", help="tell the known differences of this name")
    args = parser.parse_args()
    try:
        Opa.library = load_opa()
    except NotHere as why:
        print(f"opa: not run: {why}")
        return 1 if os.environ.get("CI") else 0
    report = Report(args.show)
    refused(report)
    generated(report, args.seed, args.cases, args.only)
    if not args.only:
        opa = library()
        library_tests(report, opa)
        library_decisions(report, opa, args.seed, args.cases)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
