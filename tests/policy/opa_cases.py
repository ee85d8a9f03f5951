"""Rules and inputs for `opa.py`: whatever admission takes, put together by a seed.

Half of the packages call one builtin in many of the ways that a rule can, with arguments of its
kinds, at the edges of them and of other kinds. The other half put the language together: rules of
all forms with bodies of all forms, on inputs whose members are there, missing, null or something
else. What the two engines are known to take apart is rare and named in `about`, so that it hides
nothing else.
"""

import json
import pathlib
import random
import re
from dataclasses import dataclass, field

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ADMITTED = REPOSITORY / "gateway/pdp/src/admission/builtins.rs"


@dataclass
class Package:
    """Rules that stand together, what is asked of them, and what they are made of."""

    name: str
    files: dict  # text by path
    rules: list  # documents
    inputs: list
    about: set  # builtins that are called, forms that are used
    fixed: list = field(default_factory=list)  # arguments that stand in the rules


def admitted():
    """The builtins that a policy may call, with the number of their arguments."""
    text = ADMITTED.read_text(encoding="utf-8")
    table = text[text.index("const ALLOWED"):text.index("const REFUSED")]
    return {name: int(count) for name, count in re.findall(r'\(\s*"([^"]+)",\s*(\d+)', table)}


# --- values -------------------------------------------------------------------------

WORDS = ["a", "b", "k", "x", "admin", "abc", "A-b_C", "vault-01"]
TEXTS = ["", " lead and trail \t", "a,b,,c", "é", "Straße", "İstanbul", "ΣΊΣΥΦΟΣ", "日本語", "x😀y",
         "e\u0301", "a\nb", "\u00a0x\u2003", "\u2028", "%d %s", "null", "true", "aaaa", "abcabc", "\u0000",
         "ﬁ", "ǅ"]
NUMERALS = ["0", "12", "-3.5", "1e3", "0x1F", "+5", "1_000", ".5", "5.", "Infinity", "NaN", " 7", "٣",
            "1e400", "12345678901234567890123", "007", "-0", "--1", "1e", ""]
SMALL = [0, 1, 2, 3, 4, -1, -7, 10, 0.5, 2.5, 7]
ODD = [255, 1.0, -2.5, 3.999, 0.1, 1e3, 2**31, -2**31 - 1, 2**53 - 1, -2**53 + 1, 1e-7, -0.0, 1234567.891]
HUGE = [2**53 + 1, 2**63 - 1, 2**63, -2**63, 2**64, 10**22, 12345678901234567890123, 1e21, 1.5e300, -1.5e300]
CIDRS = ["10.0.0.0/8", "10.1.2.0/24", "10.1.2.3/24", "10.1.2.3", "0.0.0.0/0", "192.0.2.1/32", "::/0",
         "2001:db8::/32", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "10.0.0.0/33",
         "010.0.0.0/8", "10.0.0/8", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/", "fe80::1%eth0", "", "x"]
PATTERNS = ["^a.*z$", "[a-z]+", r"^\d+$", r"^\w+$", "(a|b)+", "(?i)ABC", "a{2}", r"\bfoo\b", "^$", ".",
            "", r"^\p{L}+$", "[[:alpha:]]+", "(?P<n>b)c", "x*", r"\s", r"^\S+$", "^vault-[0-9]{2}$",
            r"[^\w-]", "[", "a**", "(?=a)", r"\Qa.b\E", r"(?s)a.b", "(?m)^b$", r"\pN", "a{1001}", r"\z",
            r"\Z", r"[a-\d]", r"\x41", r"\u0041", "a{,2}", "[a&&b]", "[[a]", "(?x) a b", "(?U)a+", r"\C",
            r"\/", r"\-", "é", "(?i)k", "(?i)ſ", r"^/subscriptions/[^/]+/", r"(foo|bar)\.?"]
PROSE = ["abc", "aaa", "foo bar", "food", "٣٤", "é", "a\nb", "", "vault-01", "ABC", "a.b", "abcz",
         "Kk\u212a", "a b\tc", "ab", "-", "x", "日本", "12", "_", "/subscriptions/1/x"]
# None that is an expression too: Open Policy Agent keeps both in one cache, by their text.
TEMPLATES = ["urn:foo:{.*}", "a{b}c", "{[a-z]+}-01", "urn:x", "{", "a{", "}{", "vault-{\\d+}", "{(}", "{.}x"]
GLOBS = ["*", "**", "*.example.com", "a?c", "{a,b}c", "{a,{b,c}}", "[a-c]x", "[!a]x", "[^a]x", "a/*", "a/**/b",
         r"\*", "api.*.com", "a*", "", "{", "[", "a[", "a:*", "a,b", "?", "*/b", "**/b", "a**b", "[]a]", "{}",
         "{a,}x", "é*", "*:*", "[*]", "a*b", "*x*"]
NAMES = ["abc", "a.example.com", "a.b.example.com", ".example.com", "ac", "bc", "bx", "ax", "a/b", "a/x/b",
         "a/x/y/b", "*", "api.x.com", "api.x.y.com", "", "a", "{", "a:b", "a:b:c", "b", "x", "é", "éa", "a,b",
         "a]", "[", "a/", "/b"]
DELIMITERS = [[], ["."], None, ["/"], [".", "/"], [":"], [","], ["ab"], [""], ["é"]]
VERSIONS = ["1.2.3", "1.2.4", "1.10.0", "1.2.3-rc.1", "1.2.3-rc.2", "1.2.3-alpha", "1.2.3-1", "1.2.3+b",
            "1.2.3-rc.1+b", "1.2", "v1.2.3", "01.2.3", "1.2.3-01", "", "1.2.3.4", "99999999999999999999.0.0",
            "1.2.-3", " 1.2.3", "1.2.3-"]
ENCODED = ["", "YQ==", "YWI=", "YWJj", "YQ", "YWI", "_-8=", "/+8=", "/+8", "_-8", "Y Q==", "YQ==\n", "YR==",
           "YQ=", "!", "w6k=", "/w==", "_w"]
HEXES = ["", "61", "6162", "6", "zz", "C3A9", "c3a9", "ff", "0x61", " 61"]
DURATIONS = ["1h", "1h30m", "1.5s", "-2m", "+1s", "1µs", "1us", "5ns", "0", "", "1d", "5", "h", "9999999h",
             ".5s", "1.s", "1h 2m", "-.5h", "2562047h47m16.854775807s", "1m1h"]
SIZES = ["10", "10K", "10k", "1.5M", "1Ki", "1.5Gi", "1GB", "10KB", "10kib", "10MiB", "1e3", "0", "", "-1",
         "-1K", "1m", "10 MB", "1_000", "abc", "1E", "1Ei", "1e", "100.5", ".5K", "K", "1P", "1T", "1KK",
         "0x10", "10B", "\"10K\"", "1.", "99999999999Ti", "0.0001K", "1u"]
TIMES = ["2026-11-23T03:00:00Z", "2026-11-23T03:00:00.123456789Z", "2026-11-23T03:00:00+02:00",
         "2024-02-29T23:59:59Z", "2023-02-29T00:00:00Z", "2026-11-23 03:00:00Z", "2026-11-23T03:00:00",
         "2026-11-23t03:00:00z", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "2026-11-23T24:00:00Z",
         "2026-11-23T03:00:60Z", "2300-01-01T00:00:00Z", "1600-01-01T00:00:00Z", "", "x",
         "2026-11-23T03:00:00,5Z", "2026-11-23T03:00:00-00:00", "2026-11-23T3:00:00Z",
         "2026-11-23T03:00:00+24:00"]
LAYOUTS = ["2006-01-02", "2006-01-02T15:04:05Z07:00", "RFC3339", "RFC1123", "02 Jan 06 15:04 MST", "15:04",
           "Jan _2", "2006", "x", "", "Monday", "3:04PM", "2006-01-02 15:04:05.000", "RFC850", "ANSIC"]
DATES = ["2026-11-23", "2026-11-23T03:00:00Z", "Mon, 23 Nov 2026 03:00:00 UTC", "23 Nov 26 03:00 UTC", "03:30",
         "Nov  3", "2026", "x", "", "Monday", "3:04PM", "2026-11-23 03:00:00.125", "2026-2-3",
         "2026-11-23T03:00:00+01:00", "Monday, 23-Nov-26 03:00:00 UTC", "Mon Nov 23 03:00:00 2026"]
INSTANTS = [0, 1763866800123456789, 1795402800000000000, 1709251199000000000, -1, 10**18, 2**63 - 1, -2**63,
            2**63, 1.5, -86400 * 10**9 * 365]
ZONES = ["UTC", "", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Nowhere/City", "EST", "Etc/GMT+5"]
JSONS = ['{"a":1}', "[1,2", "1", '"x"', "nul", '{"a":1,"a":2}', " 1 ", "1e400", "12345678901234567890",
         "[1.0]", '{"b":1}{"c":2}', '"\\ud800"', "", "[]", '{"k":[true,null,"é"]}', "01", "-", "[1,]",
         "NaN", "1.50", '"a\nb"', "1 2", "[" * 200 + "]" * 200]
FORMATS = ["%s", "%d", "%v", "%s-%d", "%v/%v", "plain", "%%", "%v %s", "%q", "%x", "%X", "%b", "%o", "%c",
           "%t", "%f", "%.2f", "%5d", "%05d", "%-5s|", "%+d", "%", "%[1]s", "%T", "%#v", "%z", "% d"]
POINTERS = ["a", "a/b", "k", "o/x", "0", "/a", "", "a/0", "a~1b", "missing", "list/0", "list/-", "a//b"]


def pick(rng, common, rare, chance=0.2):
    return rng.choice(rare if rng.random() < chance else common)


def text(rng):
    return pick(rng, WORDS, TEXTS, 0.25)


def number(rng):
    return rng.choice(HUGE) if rng.random() < 0.02 else pick(rng, SMALL, ODD, 0.25)


def scalar(rng):
    return rng.choice([None, True, False, text(rng), number(rng)])


def anything(rng, depth=2):
    """A value of any kind."""
    kind = rng.random()
    if depth == 0 or kind < 0.6:
        return scalar(rng)
    if kind < 0.8:
        return [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(WORDS): anything(rng, depth - 1) for _ in range(rng.randrange(4))}


def record(rng):
    """An object with members that pointers and paths name."""
    whole = {"a": anything(rng), "k": scalar(rng), "o": {"x": scalar(rng)}, "list": [scalar(rng), scalar(rng)]}
    return {name: whole[name] for name in whole if rng.random() < 0.8}


def graph(rng):
    nodes = WORDS[:5]
    edges = {node: rng.sample(nodes, rng.randrange(3)) for node in nodes}
    return {**edges, "k": None, "x": "a"} if rng.random() < 0.2 else edges


def instant(rng):
    """Nanoseconds, alone or with a zone and a form."""
    when = rng.choice(INSTANTS)
    zoned = [when, rng.choice(ZONES)]
    return rng.choice([when, [when], zoned, [*zoned, rng.choice(LAYOUTS)]])


def key(rng):
    path = rng.sample(["a", "o", "x", 0, "list"], rng.randrange(3))
    return rng.choice([text(rng), number(rng), scalar(rng), path, path])


def among(values):
    return lambda rng: rng.choice(values)


KINDS = {
    "num": number, "str": text, "any": anything, "rec": record, "graph": graph, "ns": instant, "key": key,
    "int": lambda rng: pick(rng, [0, 1, 2, 3, 5, -1], [number(rng), 2.5]),
    "numeral": lambda rng: rng.choice([rng.choice(NUMERALS), scalar(rng)]),
    "base": lambda rng: pick(rng, [2, 8, 10, 16], [0, 1, 36, 10.0, -2]),
    "cidr": among(CIDRS), "re": among(PATTERNS), "prose": among(PROSE), "template": among(TEMPLATES),
    "open": lambda rng: pick(rng, ["{"], ["<", "", "{{"], 0.1),
    "close": lambda rng: pick(rng, ["}"], [">", "", "}}"], 0.1),
    "glob": among(GLOBS), "name": among(NAMES),
    "delims": lambda rng: pick(rng, DELIMITERS[:5], DELIMITERS[5:]),
    "semver": among(VERSIONS), "b64": among(ENCODED), "hex": among(HEXES), "json": among(JSONS),
    "dur": among(DURATIONS), "size": among(SIZES), "rfc3339": among(TIMES), "layout": among(LAYOUTS),
    "date": among(DATES), "fmt": lambda rng: pick(rng, FORMATS[:8], FORMATS[8:]),
    "pointer": lambda rng: pick(rng, POINTERS, [rng.sample(["a", "o", "x", 0, "k"], rng.randrange(3))], 0.4),
    "texts": lambda rng: {text(rng): text(rng) for _ in range(rng.randrange(3))},
    "cut": among(["a", "", " ", "ab", "é", "x😀", "\t ", "aa"]),
}

# The kinds of the arguments of each builtin. `x[]` is an array of such, `x{}` a set; of several,
# one is taken for a package.
ARGUMENTS = {
    "__builtin_sets.intersection": "any{} any{}",
    "__builtin_sets.union": "any{} any{}",
    "abs": "num",
    "array.concat": "any[] any[]",
    "array.reverse": "any[]",
    "array.slice": "any[] int int",
    "base64.decode": "b64",
    "base64.encode": "str",
    "base64.is_valid": "b64",
    "base64url.decode": "b64",
    "base64url.encode": "str",
    "base64url.encode_no_pad": "str",
    "bits.and": "int int",
    "bits.negate": "int",
    "bits.or": "int int",
    "bits.rsh": "int int",
    "bits.xor": "int int",
    "ceil": "num",
    "concat": "cut str[]|str{}",
    "contains": "str cut",
    "count": "any[]|any{}|str|rec",
    "endswith": "str cut",
    "floor": "num",
    "format_int": "num base",
    "glob.match": "glob delims name",
    "glob.quote_meta": "glob",
    "graph.reachable": "graph str[]|str{}",
    "hex.decode": "hex",
    "hex.encode": "str",
    "indexof": "str cut",
    "indexof_n": "str cut",
    "intersection": "num{}{}",
    "is_array": "any",
    "is_boolean": "any",
    "is_null": "any",
    "is_number": "any",
    "is_object": "any",
    "is_set": "any|any{}",
    "is_string": "any",
    "json.filter": "rec pointer[]|pointer{}",
    "json.is_valid": "json",
    "json.marshal": "any|any{}|num",
    "json.remove": "rec pointer[]|pointer{}",
    "json.unmarshal": "json",
    "lower": "str",
    "max": "any[]|any{}|num[]",
    "min": "any[]|any{}|num[]",
    "net.cidr_contains": "cidr cidr",
    "net.cidr_is_valid": "cidr",
    "object.filter": "rec str[]|str{}|rec",
    "object.get": "rec key any",
    "object.keys": "rec",
    "object.remove": "rec str[]|str{}|rec",
    "object.subset": "rec rec;any[] any[];any{} any{};any[] any{};any any",
    "object.union": "rec rec",
    "object.union_n": "rec[]",
    "product": "num[]|num{}",
    "regex.find_n": "re prose int",
    "regex.is_valid": "re",
    "regex.match": "re prose",
    "regex.replace": "prose re prose",
    "regex.split": "re prose",
    "regex.template_match": "template prose|name open close",
    "replace": "str cut str",
    "round": "num",
    "semver.compare": "semver semver",
    "semver.is_valid": "semver",
    "sort": "any[]|any{}|num[]",
    "split": "str cut",
    "sprintf": "fmt any[]|num[]|str[]",
    "startswith": "str cut",
    "strings.any_prefix_match": "str|str[]|str{} cut|str[]|str{}",
    "strings.any_suffix_match": "str|str[]|str{} cut|str[]|str{}",
    "strings.count": "str cut",
    "strings.replace_n": "texts str",
    "strings.reverse": "str",
    "substring": "str int int",
    "sum": "num[]|num{}",
    "time.add_date": "ns int int int",
    "time.clock": "ns",
    "time.date": "ns",
    "time.diff": "ns ns",
    "time.format": "ns",
    "time.parse_duration_ns": "dur",
    "time.parse_ns": "layout date",
    "time.parse_rfc3339_ns": "rfc3339",
    "time.weekday": "ns",
    "to_number": "numeral",
    "trim": "str cut",
    "trim_left": "str cut",
    "trim_prefix": "str cut",
    "trim_right": "str cut",
    "trim_space": "str",
    "trim_suffix": "str cut",
    "type_name": "any|any{}",
    "union": "num{}{}",
    "units.parse": "size",
    "units.parse_bytes": "size",
    "upper": "str",
    "walk": "any|rec",
}


# --- one builtin --------------------------------------------------------------------

# What is not called by its name.
SPELLED = {"__builtin_sets.intersection": "({0} & {1})", "__builtin_sets.union": "({0} | {1})"}
# Sets do not come with an input: they are made of its arrays.
AS_SETS = {"": "{0}", "[]": "{0}", "{}": "{{x | x := {0}[_]}}", "{}{}": "{{{{y | y := x[_]}} | x := {0}[_]}}"}


def draw(rng, kind):
    """A value for an argument of this kind; sets are arrays yet."""
    base = kind.rstrip("[]{}")
    if kind.endswith("{}{}"):
        return [draw(rng, base + "[]") for _ in range(rng.randrange(4))]
    if kind != base:
        return [KINDS[base](rng) for _ in range(rng.randrange(4))]
    return KINDS[base](rng)


def literal(value, kind=""):
    """A value as Rego has it."""
    if kind.endswith("{}"):
        members = [literal(member, kind[:-2]) for member in value]
        return "{" + ", ".join(members) + "}" if members else "set()"
    return json.dumps(value, ensure_ascii=False)


def builtin(rng, place, name):
    """A package that calls one builtin in many ways."""
    choices = rng.choice(ARGUMENTS[name].split(";")).split()
    kinds = [rng.choice(choice.split("|")) for choice in choices]
    shapes = [AS_SETS[kind[len(kind.rstrip("[]{}")):]] for kind in kinds]
    members = "abcd"[:len(kinds)]

    def call(arguments):
        return SPELLED[name].format(*arguments) if name in SPELLED else f"{name}({', '.join(arguments)})"

    def shaped(sources):
        return [shape.format(source) for shape, source in zip(shapes, sources)]

    given = [f"input.{member}" for member in members]
    fixed = [draw(rng, kind) for kind in kinds]
    told = [literal(value, kind) for value, kind in zip(fixed, kinds)]
    own, each = shaped(given), shaped(["v", *given[1:]])
    parameters = "pqrs"[:len(kinds)]
    taken = "\n\t".join(f"{name} := {path}" for name, path in zip(parameters, given))
    texts = {
        "plain": f"plain := {call(own)}",
        "negated": f"negated if {{\n\t{taken}\n\tnot {call(shaped(parameters))}\n}}",
        "result": f"result := [r | r := {call(own)}]",
        "constant": f"constant := {call(told)}",
        "many": f"many := [r | some v in input.many; r := {call(each)}]",
        "fallback": f'default fallback := "none"\n\nfallback := {call(own)}',
        "choice": f'choice := "same" if {call(own)} == input.want else := "other"',
        "all": f"all if every v in input.many {{ {call(each)} }}",
        "function": f"function := f({', '.join(given)})\n\n"
                    f"f({', '.join(parameters)}) := {call(shaped(parameters))}",
    }
    if name == "walk":
        # It gives every value within, each a result of its own.
        texts = {"result": "result := [[p, v] | walk(input.a, [p, v])]",
                 "found": "found contains p if walk(input.a, [p, input.want])",
                 "negated": "negated if not has_null\n\nhas_null if walk(input.a, [_, null])",
                 "constant": f"constant := [w | walk({told[0]}, w)]"}
    texts = {rule: texts[rule] for rule in rng.sample(sorted(texts), min(len(texts), 6))}

    def argument(kind):
        chance = rng.random()
        if chance < 0.86:
            return draw(rng, kind)
        other = number if kind == "template" else rng.choice([anything, number, text])
        return other(rng) if chance < 0.96 else None

    def document():
        whole = {member: argument(kind) for member, kind in zip(members, kinds) if rng.random() > 0.04}
        return {**whole, "many": [argument(kinds[0]) for _ in range(rng.randrange(3))], "want": anything(rng)}

    package = f"gen.{place}"
    source = f"package {package}\n\nimport rego.v1\n\n" + "\n\n".join(texts.values()) + "\n"
    inputs = [document() for _ in range(4)]
    asked = [f"{package}.{rule}" for rule in texts]
    return Package(package, {f"gen/{place}.rego": source}, asked, inputs, {name}, fixed)


# --- all of the language --------------------------------------------------------------

# What all packages may use.
SHARED = {
    "gen/lib/lib.rego": """package gen.lib

import rego.v1

table := data.facts.table

names contains name if some name, _ in table

double(x) := x * 2

first([x]) := x

first([x, _]) := x

kind(x) := "number" if is_number(x)

else := "text" if is_string(x)

else := "other"

default safe(_) := "unsafe"

safe(x) := x.ok

pairs[k] := v if v := data.facts.limits[k]

tagged contains tag if tag := input.list[_].tags[_]

nested.one.two := input.n

nested.one.three := 3
""",
    "facts/data.json": json.dumps({
        "limits": {"a": 1, "b": 2.5, "c": None}, "names": ["a", "b", "x"], "matrix": [[1, 2], [3, 4]],
        "roles": {"admin": ["a", "b"], "reader": ["k"], "none": []},
        "table": {"a": 1, "b": [1, 2, {"c": "d"}], "k": "admin", "x": None}}),
}
GIVEN = ["input.n", "input.m", "input.s", "input.t", "input.flag", "input.any", "input.o.k", "input.o.deep.x",
         'input["s"]', "input.arr[0]", "input.arr[1]", "input.list[0].id", "input.list[1].n", "input.pair[1]",
         "input.missing", "input.o.missing.more", "data.facts.limits.a", "data.facts.matrix[1][0]", "obj.k"]
MADE = ["data.gen.lib.table.k", "lib.nested.one.two", "other.table.a"]
CHOSEN = ["input.o[input.s]", "data.gen.lib.table[input.t]", "data.facts.roles[input.s][0]"]
SCALARS = GIVEN + MADE + CHOSEN
MANY = ["input.arr", "input.strs", "input.o", "input.list", "input.pair", "input.o.deep", "input.list[0].tags",
        "data.facts.limits", "data.facts.roles[input.s]", "data.facts.names", "lib.names", "lib.pairs",
        "other.table.b", "lib.tagged", "lib.nested.one", "obj"]
RUNS = ["input.list[{0}].tags[{1}]", "input.arr[{0}]", "input.o[{0}]", "input.list[{0}].id", "obj[{0}][{1}]",
        "data.facts.roles[{0}][{1}]", "data.facts.matrix[{0}][{1}]", "lib.table[{0}]", "lib.names[{0}]",
        "input.o[{0}][{1}]", "input.pair[{0}]", "data.gen.lib.nested[{0}][{1}]"]
OBJECTS = ["input.o", "lib.table", "data.facts.limits", "input.list[0]"]
IMPORTS = "import rego.v1\n\nimport data.gen.lib\nimport data.gen.lib as other\nimport input.o as obj\n"
# Statements with a variable that nothing gives a value.
UNBOUND = ["count({0}) > 1", "{0} != 1"]


class Writer:
    """Writes one package of rules, each of which uses those above it."""

    def __init__(self, rng, place):
        self.rng, self.place = rng, place
        self.texts, self.rules, self.about = [], [], {"language"}
        self.values, self.collections, self.functions = [], [], []
        self.count = 0

    def name(self, letter="v"):
        self.count += 1
        return f"{letter}{self.count}"

    def one(self, *ways):
        """The text of one of some ways to go on."""
        way = self.rng.choice(ways)
        return way() if callable(way) else way

    def rare(self, what, chance):
        """Whether to do what the engines take apart."""
        if self.rng.random() >= chance:
            return False
        self.about.add(what)
        return True

    # Expressions. `names` are the variables that have a value.

    def value(self, names, depth=2):
        """An expression of any type."""
        if depth <= 0 or self.rng.random() < 0.35:
            known = [lambda: self.rng.choice(names)] * 3 if names else []
            made = [lambda: self.rng.choice(self.values)] if self.values else []
            return self.one(lambda: self.rng.choice(SCALARS), lambda: literal(scalar(self.rng)), *known, *made)
        makers = [self.number, self.text, self.truth, self.many, self.array, self.object, self.set, self.part,
                  self.called]
        return self.rng.choice(makers)(names, depth - 1)

    def number(self, names, depth):
        if depth <= 0:
            return self.one("input.n", "input.m", lambda: str(self.rng.choice(SMALL)), "count(input.arr)",
                            "data.facts.limits.b")
        one, two = self.number(names, depth - 1), self.number(names, depth - 1)
        return self.one(f"({one} {self.rng.choice('+-*')} {two})", f"({one} / {self.rng.choice([2, 4, 5])})",
                        f"({one} % {self.rng.choice([2, 3, 7])})", f"abs({one})", f"sum([{one}, {two}])",
                        f"lib.double({one})", f"to_number({one})", f"max([{one}, {two}])",
                        lambda: f"count({self.many(names, depth - 1)})")

    def text(self, names, depth):
        if depth <= 0:
            return self.one("input.s", "input.t", lambda: literal(self.rng.choice(WORDS)), "`a\\b`",
                            "input.list[0].id")
        one, two = self.text(names, depth - 1), self.text(names, depth - 1)
        any_ = self.value(names, depth - 1)
        return self.one(f"concat({one}, [{two}, {one}])", f"upper({one})", f"trim_prefix({one}, {two})",
                        f'sprintf("%v-%s", [{any_}, {one}])', f"type_name({any_})", f"other.kind({any_})",
                        lambda: f"json.marshal({self.array(names, 0)})")

    def truth(self, names, depth):
        one = self.value(names, depth - 1)
        type_ = self.rng.choice(["number", "string", "object", "array", "null", "boolean", "set"])
        return self.one(lambda: f"({self.compared(names, depth - 1)})", f"is_{type_}({one})", "true",
                        "input.flag", lambda: f"startswith({self.text(names, 0)}, {self.text(names, 0)})")

    def compared(self, names, depth):
        """Two values; in order only what is no set and no object."""
        if self.rng.random() < 0.5:
            like = self.rng.choice([self.number, self.text, self.array, self.set])
            sides = self.one(lambda: (self.rng.choice(GIVEN), self.value(names, depth)),
                             lambda: (self.value(names, depth), self.rng.choice(GIVEN)),
                             lambda: (like(names, depth), like(names, depth)))
            return f" {self.rng.choice(['==', '!='])} ".join(sides)
        sides = [self.one(lambda: self.number(names, depth), lambda: self.text(names, depth),
                          lambda: self.rng.choice(GIVEN)) for _ in range(2)]
        return f" {self.rng.choice(['<', '<=', '>', '>='])} ".join(sides)

    def many(self, names, depth):
        """A collection."""
        made = [lambda: self.rng.choice(self.collections)] if self.collections else []
        deep = [lambda: self.array(names, depth - 1), lambda: self.object(names, depth - 1),
                lambda: self.set(names, depth - 1)] if depth > 0 else []
        return self.one(lambda: self.rng.choice(MANY), lambda: self.rng.choice(MANY), *made, *deep)

    def array(self, names, depth):
        members = "[" + ", ".join(self.value(names, depth) for _ in range(self.rng.randrange(4))) + "]"
        return self.one(members, members, f"array.concat({self.one('input.arr', 'input.strs')}, {members})",
                        lambda: self.comprehension(names, depth, "[{}]"), 'split("a,b,x", ",")')

    def object(self, names, depth):
        words = self.rng.sample(WORDS, self.rng.randrange(3))
        members = "{" + ", ".join(f"{literal(word)}: {self.value(names, depth)}" for word in words) + "}"
        return self.one(members, f"object.union({members}, data.facts.limits)",
                        'object.remove(lib.table, ["a"])',
                        lambda: self.comprehension(names, depth, "{{{}: {}}}"),
                        lambda: f"{{{self.value(names, 0)}: {self.value(names, depth)}}}")

    def set(self, names, depth):
        # Two that turn out to be equal while it is evaluated are two to Open Policy Agent.
        members = self.one(lambda: self.value(names, depth),
                           lambda: ", ".join(literal(word) for word in self.rng.sample(WORDS, 3)))
        ways = ["set()", "lib.names", f"{{{members}}}", lambda: self.comprehension(names, depth, "{{{}}}")]
        if depth > 0:
            ways.append(f"({self.set(names, depth - 1)} {self.one(*'|&-')} {self.set(names, depth - 1)})")
        return self.one(*ways)

    def comprehension(self, names, depth, form):
        """One of the three kinds."""
        body, inside = self.body(names, depth, self.rng.choice([1, 1, 2]))
        head = form.format(self.value(inside, 0), self.value(inside, 0))
        return f"{head[:-1]} | {'; '.join(body)}{head[-1]}"

    def part(self, names, depth):
        """A part of something."""
        where = self.one(*names, "0", '"a"', "input.s", "input.n", '"k"')
        return self.one(f"{self.rng.choice(MANY)}[{where}]", f"data.gen.lib.table[{where}]",
                        f"other.table.b[2][{where}]",
                        f"object.get({self.rng.choice(OBJECTS)}, {where}, {self.value(names, 0)})",
                        f"[{self.value(names, 0)}, {self.value(names, 0)}][{self.one('0', '1', 'input.n')}]")

    def called(self, names, depth):
        own = [f"{name}({self.given(count)})" for name, count in self.functions]
        one = self.value(names, depth)
        return self.one(f"lib.first([{one}, {self.value(names, 0)}])", f"lib.safe({one})",
                        f"data.gen.lib.kind({one})", *own, *own)

    def given(self, count):
        """Arguments of whose types nothing is known before they come."""
        return ", ".join(self.rng.choice(SCALARS + MANY[:9]) for _ in range(count))

    # Statements: a text, and the variables that have a value after it.

    def statement(self, names, depth):
        rng = self.rng
        if self.rare("unbound variable", 0.004):
            return rng.choice(UNBOUND).format(self.name()), []
        if self.rare("walk", 0.02):
            path, found = self.name(), self.name()
            return f"walk({rng.choice(MANY)}, [{path}, {found}])", [path, found]
        kinds = {self.assigned: 15, self.destructured: 5, self.unified: 7, self.some: 14, self.run: 10,
                 self.held: 28, self.negated: 10, self.every: 6, self.replaced: 5}
        told, new = rng.choices(list(kinds), kinds.values())[0](names, depth)
        # Such a line would go on with the one before it.
        return self.statement(names, depth) if told.startswith(("(", "-")) else (told, new)

    def assigned(self, names, depth):
        new = self.name()
        return f"{new} := {self.value(names, depth)}", [new]

    def destructured(self, names, depth):
        one, two = self.name(), self.name()
        made = f"[{self.value(names, depth)}, {self.value(names, 0)}]"
        return f"[{one}, {two}] {self.one(':= input.pair', '= input.pair', ':= ' + made)}", [one, two]

    def unified(self, names, depth):
        new = self.name()
        return self.one(f"{new} = {self.value(names, depth)}", f"[{new}, _] = input.pair",
                        f"{self.value(names, 0)} = {new}", f"[[{new}, 2], _] = data.facts.matrix"), [new]

    def some(self, names, depth):
        one, two = self.name(), self.name()
        many = self.many(names, depth)
        single, pair = (f"some {one} in {many}", [one]), (f"some {one}, {two} in {many}", [one, two])
        return self.one(single, single, pair, pair,
                        (f"some [{one}, {two}] in [input.pair, [1, {self.value(names, 0)}]]", [one, two]))

    def run(self, names, depth):
        """Through something, by variables in the place of keys."""
        way, got = self.rng.choice(RUNS), self.name()
        keys = [self.one(self.name(), self.name(), "_") for _ in range(way.count("{"))]
        new = [name for name in keys if name != "_"]
        declared = f"some {', '.join(new)}; " if new and self.rare("some after a run", 0.1) else ""
        return f"{declared}{got} := {way.format(*keys)}", [got, *new]

    def held(self, names, depth):
        return self.one(lambda: self.compared(names, depth), lambda: self.compared(names, depth),
                        lambda: self.truth(names, depth), lambda: self.value(names, depth),
                        lambda: f"{self.value(names, 0)} in {self.many(names, depth)}"), []

    def negated(self, names, depth):
        """What does not hold. All that it calls with has a value, unless said."""
        def known():
            return self.rng.choice(names) if names and self.rng.random() < 0.8 else literal(scalar(self.rng))

        made = [f"not {name}" for name in self.values]
        given = self.rng.choice(GIVEN + MADE)
        return self.one(f"not {given}", f"not {self.rng.choice(MANY[:8])}", f"not {given} == {known()}",
                        f"not {known()} {self.one('==', '!=')} {known()}", f"not is_string({known()})",
                        f'not {known()} in [1, "a", {known()}]', f"not lib.safe({known()})", *made[:1],
                        "not lib.table.nothing"), []

    def every(self, names, depth):
        one, two = self.name(), self.name()
        body, _ = self.body([*names, one], 0, 1)
        many = self.many(names, depth)
        return self.one(f"every {one} in {many} {{ {one} != {self.value(names, 0)}; {'; '.join(body)} }}",
                        f"every {two}, {one} in {many} {{ {one} != {two}; {'; '.join(body)} }}"), []

    def replaced(self, names, depth):
        """With another input, or other data."""
        made = [f"data.gen.{self.place}.{name}" for name in self.values[:1]]

        def replacement():
            target = self.one("input", "input.n", "input.s", "input.o", "input.arr", "input.o.k",
                              "data.facts.limits", "data.facts.names", "data.gen.lib.table", *made)
            if target == "input":
                return 'input as {"n": 1, "s": "k", "arr": [3]}'
            given = self.rng.choice([path for path in GIVEN if path.startswith("input")])
            return f"{target} as {self.one(*names, given, literal(anything(self.rng)))}"

        held = self.one(lambda: self.compared(names, 0), lambda: self.called(names, 0),
                        lambda: self.negated(names, 0)[0], *self.values)
        return f"{held} with {replacement()}", []

    def body(self, names, depth, length):
        """Statements, and all the variables that have a value after them."""
        statements, names = [], list(names)
        for _ in range(length):
            told, new = self.statement(names, depth)
            statements.append(told)
            names += new
        return statements, names

    # Rules.

    def block(self, heads, known=(), most=3, open_=True):
        """A body, and the expressions of a head: mostly variables that have a value by then."""
        statements, names = self.body(known, 1, self.rng.randint(1, most))
        if self.rng.random() < 0.15 and not any(re.search(r":=|\b(some|in)\b", told) for told in statements):
            self.rng.shuffle(statements)
        found = []
        for _ in range(heads):
            head = self.value(names, 1)
            if head not in names and open_ and self.rng.random() < 0.03:
                head = self.rng.choice(GIVEN)
            elif head not in names:
                new = self.name()
                statements.append(f"{new} := {head}")
                head = new
            found.append(head)
        if len(statements) == 1 and ";" not in statements[0] and not statements[0].startswith("{"):
            return statements[0], *found
        return "{\n\t" + "\n\t".join(statements) + "\n}", *found

    def add(self, name, *texts, many=False):
        self.texts += texts
        self.rules.append(name)
        (self.collections if many else self.values).append(name)

    def complete(self):
        name, (block, head) = self.name("c"), self.block(1)
        self.add(name, self.one(f"{name} := {head} if {block}", f"{name} = {head} if {block}"))

    def holds(self):
        name = self.name("c")
        self.add(name, *(f"{name} if {self.block(0)[0]}" for _ in range(self.one(1, 1, 2))))

    def several(self):
        name = self.name("c")
        self.add(name, *(f"{name} := {literal(self.rng.choice(WORDS[:2]))} if {self.block(0, most=2)[0]}"
                         for _ in range(2)))

    def otherwise(self):
        name, parts = self.name("c"), []
        for _ in range(self.one(2, 3)):
            block, head = self.block(1, most=2, open_=False)
            parts.append(f":= {head} if {block}")
        parts += [f":= {literal(scalar(self.rng))}"] if self.rng.random() < 0.3 else []
        self.add(name, f"{name} " + "\n\nelse ".join(parts))

    def defaulted(self):
        name, (block, head) = self.name("c"), self.block(1)
        self.add(name, f"default {name} := {literal(anything(self.rng))}", f"{name} := {head} if {block}")

    def constant(self):
        name = self.name("c")
        made = self.one(lambda: self.part([], 1), lambda: self.called([], 1),
                        lambda: self.comprehension([], 1, self.one("[{}]", "{{{}}}", "{{{}: {}}}")))
        self.add(name, f"{name} := {made}")

    def partial_set(self):
        name, texts = self.name("s"), []
        for _ in range(self.one(1, 2)):
            block, head = self.block(1)
            texts.append(f"{name} contains {head} if {block}")
        texts += [f'{name} contains "always"'] if self.rng.random() < 0.1 else []
        self.add(name, *texts, many=True)

    def partial_object(self):
        name, texts = self.name("o"), []
        form = self.one("[{0}] := {1}", "[{0}] := {1}", "[{0}] if")
        for _ in range(self.one(1, 1, 2)):
            block, where, head = self.block(2)
            where = self.one(where, where, literal(self.rng.choice(WORDS[:3])))
            told = f"{name}{form.format(where, head)}"
            texts.append(f"{told} {block}" if told.endswith("if") else f"{told} if {block}")
        self.add(name, *texts, many=True)

    def nested(self):
        name, texts = self.name("o"), []
        for word in self.rng.sample(WORDS[:4], 2):
            block, head = self.block(1, most=2)
            form = self.one(".{0} := {1}", ".{0} contains {1}", ".{0}.more := {1}", '["{0}"] := {1}')
            texts.append(f"{name}{form.format(word, head)} if {block}")
        self.add(name, *texts, many=True)

    def function(self):
        name, count, texts = self.name("f"), self.one(1, 2), []
        if self.rng.random() < 0.2:
            texts.append(f"default {name}({', '.join('_' * count)}) := {literal(scalar(self.rng))}")
        for _ in range(self.one(1, 2)):
            names, heads = [], []
            for _ in range(count):
                new = self.name()
                form = self.one("{0}", "{0}", "{0}", "[{0}, _]", "")
                names += [new] if form else []
                heads.append(form.format(new) or literal(scalar(self.rng)))
            goes_on = self.rng.random() < 0.2
            known = [name for name in names if name in " ".join(heads)]
            block, head = self.block(1, known, most=2, open_=not goes_on)
            told = f"{name}({', '.join(heads)}) := {head} if {block}"
            more = f"\n\nelse := {literal(scalar(self.rng))}" if goes_on else ""
            texts.append(told + more)
        # All of a function stands in one file.
        self.texts.append("\n\n".join(texts))
        self.functions.append((name, count))
        rule = self.name("c")
        self.add(rule, f"{rule} := {name}({self.given(count)})")

    def done(self):
        twice = [self.complete, self.holds, self.partial_set, self.function] * 2
        once = [self.several, self.otherwise, self.defaulted, self.constant, self.partial_object, self.nested]
        while len(self.rules) < 4:
            self.rng.choice(twice + once)()
        package = f"gen.{self.place}"
        head = f"package {package}\n\n{IMPORTS}\n"
        # Some of it stands in a second file of the same package.
        first = self.rng.randint(1, len(self.texts) - 1) if self.rng.random() < 0.15 else len(self.texts)
        files = {f"gen/{self.place}.rego": head + "\n\n".join(self.texts[:first]) + "\n"}
        if self.texts[first:]:
            files[f"gen/{self.place}_more.rego"] = head + "\n\n".join(self.texts[first:]) + "\n"
        asked = [f"{package}.{rule}" for rule in self.rules]
        return Package(package, files, asked, [document(self.rng) for _ in range(4)], self.about)


def document(rng):
    """An input for them: whole, or with some members that are not what they are to be."""
    few = [0, 1, 2, 3, 0.5, -1]
    entries = [{"id": rng.choice(WORDS[:4]), "n": rng.choice(few),
                "tags": rng.sample(WORDS[:5], rng.randrange(3))} for _ in range(rng.randrange(1, 4))]
    deep = {"x": rng.choice([1, "x", None]), "a": 2}
    whole = {
        "n": rng.choice(few), "m": rng.choice(few), "s": rng.choice(WORDS[:5]), "t": rng.choice(WORDS[:5]),
        "flag": rng.choice([True, True, False]), "arr": [rng.choice(few) for _ in range(rng.randrange(4))],
        "strs": rng.sample(WORDS, rng.randrange(4)), "list": entries, "any": anything(rng),
        "o": {"k": rng.choice([1, "a", "k"]), "a": rng.choice([1, [2, 3], "x"]), "deep": deep},
        "pair": [rng.choice([1, "a"]), rng.choice([2, "b", None])],
    }
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        inner = whole.get("o")
        spot = inner if isinstance(inner, dict) and inner and rng.random() < 0.25 else whole
        name, chance = rng.choice(sorted(spot)), rng.random()
        if chance < 0.45:
            del spot[name]
        else:
            spot[name] = None if chance < 0.65 else anything(rng)
    return whole


def packages(seed, count):
    """So many packages; with every builtin if there are twice as many as those."""
    rng = random.Random(seed)
    names = sorted(ARGUMENTS)
    made = [builtin(rng, f"b{n}", names[n % len(names)]) for n in range(count // 2)]
    return made + [Writer(rng, f"p{n}").done() for n in range(count - count // 2)]
