#!/usr/bin/env python3
"""Bundles that nobody should take, put into the folder that a gateway watches.

    offered.py [TEST...]

Each is refused: a record says which file, which line where there is one, and why; the metric counts
it; the gateway lives, and the bundle before it goes on deciding. What is half written is refused and
taken once it is whole.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

import bundles  # noqa: E402
from bundles import RULES, Case, content, policy_records, written  # noqa: E402
from world import options, run, until  # noqa: E402

setUpModule = bundles.setUpModule
MORE = "vaultgate/more.rego"


def rules(text):
    """Rules of the deciding package in a file of their own; the first is on line 3."""
    return {MORE: f"package vaultgate\n\n{text}\n".encode()}


def decided_by(text):
    """Rules that every decision needs."""
    more = "import rego.v1\n\ngrants contains extra if {\n\textra := needed\n\tinput.never\n}"
    return {MORE: f"package vaultgate\n\n{more}\n\n{text}\n".encode()}


def deep(depth):
    return b"[" * depth + b"]" * depth


# Files of a bundle, and words of the refusal. A name without data is taken away.
OFFERED = {
    "recursion": (rules("ends(x) := ends(x)"), f"{MORE}:3", "recursion"),
    "recursion through rules": (rules("a := b\n\nb := a"), MORE, "recursion"),
    "a builtin that asks the network": (rules('a := http.send({"url": input.x})'), f"{MORE}:3", "http.send"),
    "a builtin that looks at the clock": (rules("a := time.now_ns()"), f"{MORE}:3", "time.now_ns"),
    "a builtin that makes much of little": (rules("a := numbers.range(1, input.n)"), f"{MORE}:3", "numbers.range"),
    "a builtin that panics": (decided_by('needed := strings.count("a", "")'), f"{MORE}:10", "policy-panic"),
    "a comprehension without an end": (
        decided_by("n := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n\nneeded := count([1 | "
                   + "; ".join(f"some {name} in n" for name in "abcdefghij") + "])"), f"{MORE}:12", "took longer"),
    "a comprehension that takes all memory": (
        decided_by("n := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n\nneeded := count({[a, b, c, d, e, f, g, h, i] | "
                   + "; ".join(f"some {name} in n" for name in "abcdefghi") + "})"), f"{MORE}:12", "took longer"),
    "data of 100 MB": ({"vaultgate/much/data.json": b'{"a": "' + b"x" * (100 << 20) + b'"}'}, "much/data.json"),
    "data of 150 MB in small files": (
        {f"vaultgate/much/{n}/data.json": b'{"a": "' + b"x" * (5 << 20) + b'"}' for n in range(30)}, "bytes"),
    "data without an end": ({"vaultgate/deep/data.json": b'{"a": ' + deep(100_000) + b"}"}, "deep/data.json"),
    "data with a name twice": ({"vaultgate/twice/data.json": b'{"a": 1, "a": 2}'}, "twice/data.json", "`a`"),
    "data that is cut off": ({"vaultgate/cut/data.json": b'{"a": [1, 2'}, "cut/data.json"),
    "rules that are cut off": ({RULES: content()[RULES][:400]}, RULES),
    "rules that are no text": ({RULES: b"package vaultgate\n\n\xff\xfe := 1\n"}, RULES),
    "no rules": ({RULES: None}, "data.vaultgate.decision"),
    "no manifest": ({".manifest": None}, ".manifest"),
    "a manifest of half its length": ({".manifest": content()[".manifest"][:20]}, ".manifest"),
    "rules outside of the roots": ({"other/a.rego": b"package other\n\na := 1\n"}, "other/a.rego", "roots"),
    "rules called like data": (rules("odd := 1"), f"{MORE}:3", "both a rule and data"),
    "a name that only looks like another": (rules("а := 1\n\na := input.а"), MORE),
    "text that runs backwards": (rules('a := "\u202e" if input.x'), f"{MORE}:3", "U+202E"),
    "data with what nobody sees": ({"vaultgate/more/data.json": '{\n "a\u200b": 1}'.encode()}, "more/data.json:2", "U+200B"),
    "a line that hides behind a carriage return": (rules("# note\ra := 1"), f"{MORE}:3", "U+000D"),
    "a name with what nobody sees": (rules("a\u200b := 1"), f"{MORE}:3", "U+200B"),
    "a negation of what may be missing": (rules("a if not input.x > 1"), f"{MORE}:3", "no value"),
    "a decision that does not deny by default": (
        {RULES: b'package vaultgate\n\ndecision := {"allow": true, "deny": [], "grants": ["x"], "obligations": []}\n'},
        "deny by default"),
}


class Folder(Case):
    """One gateway and the folder that it watches."""

    @classmethod
    def setUpClass(cls):
        cls.place = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-offered-"))
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.good = content("good")
        written(cls.good, cls.place)
        cls.world = bundles.prepared(f'dir = "{cls.place}"\n')
        cls.addClassCleanup(cls.world.stop)
        cls.world.start_gateway()

    def setUp(self):
        self.before = len(policy_records(self.world))
        self.counted = self.changes()

    def changes(self):
        with urllib.request.urlopen(f"{self.world.env['VAULTGATE_ADMIN_URL']}/metrics") as page:
            lines = page.read().decode().splitlines()
        start = 'vaultgate_policy_changes{reason="'
        return {line[len(start):].split('"')[0]: int(line.split()[-1]) for line in lines if line.startswith(start)}

    def put(self, files):
        """The whole of a bundle at once, as a deployment that is careful does it."""
        for path in sorted(self.place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        written({name: data for name, data in files.items() if data is not None}, self.place)

    def refused(self, *words):
        records = until("a record", lambda: policy_records(self.world)[self.before:], 60.0)
        self.assertEqual([one["event"] for one in records], ["rejected"] * len(records), records)
        for word in words:
            self.assertIn(word, records[-1]["problem"])
        self.decides("good")
        counted = self.changes()
        self.assertEqual(counted["rejected"] - self.counted["rejected"], len(records))
        self.assertEqual(counted["activated"], self.counted["activated"])

    def tearDown(self):
        """What was good is nothing new."""
        self.put(self.good)
        self.decides("good")

    def test_a_link_that_leads_out(self):
        (self.place / "vaultgate/link.rego").symlink_to("/etc/passwd")
        self.refused("vaultgate/link.rego")

    def test_a_folder_that_is_a_link(self):
        (self.place / "vaultgate/folder").symlink_to("/etc")
        self.refused("vaultgate/folder")

    def test_what_is_no_file(self):
        os.mkfifo(self.place / "vaultgate/pipe.rego")
        self.refused("vaultgate/pipe.rego")

    def test_what_is_half_written_is_refused_and_then_taken(self):
        half = {**content("half"), RULES: None}
        self.put(half)
        self.refused("data.vaultgate.decision")
        written({RULES: content()[RULES]}, self.place)
        self.comes_to_decide("half")
        self.put(self.good)
        self.comes_to_decide("good")


def offer(name):
    files, *words = OFFERED[name]

    def test(self):
        self.put({**self.good, **files})
        self.refused(*words)

    return test


for each in OFFERED:
    setattr(Folder, f"test_{each.replace(' ', '_')}", offer(each))


if __name__ == "__main__":
    sys.exit(run("offered", only=options(__doc__.splitlines()[0]).parse_args().only))
