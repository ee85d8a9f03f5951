#!/usr/bin/env python3
"""The JSON Schemas of input and decision, held against a standard validator and a gateway that runs.

    schemas.py [TEST...]

Policy authors are told to rely on what `vaultgate policy schema` prints. So it has to be a schema to
a validator that is not ours; everything that a gateway recorded has to fit it, whoever asked for
whatever; and it has to say no: each record is broken in every place that the schema describes.
"""

import copy
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import uuid
from pathlib import Path

from jsonschema import Draft202012Validator, FormatChecker

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("clients", "crash")]

from traffic import GROUP, backup, denied, points, read, restore, unknown  # noqa: E402
from world import API, REPOSITORY, UNLIMITED, VAULT, World, item, options, program, run  # noqa: E402

CONSOLE = (REPOSITORY / "tests/data/console.toml").read_text(encoding="utf-8")
AUDIENCE = "api://vaultgate-console"
OWN = "/_vaultgate/v1"
JUDGED = ("decision", "preflight")
# A rule under which the answer to one person is not a decision: admission asks as others.
BROKEN = '\ngrants contains 7 if input.principal.subject == "operator"\n'
# Words of the standard that these schemas may use; a misspelt one would mean nothing to a validator.
WORDS = {"$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required", "items",
         "additionalProperties", "enum", "const", "format", "pattern", "minimum", "maximum", "minLength",
         "maxLength", "minItems", "maxItems", "minProperties", "anyOf", "oneOf"}
# A value of each type, to stand where another one should.
TYPES = ("string", "number", "boolean", "null", "array", "object")
OTHERS = ("no such word", 0.5, True, None, ["x", 7], {"x": 7})
# What is Azure's or the policy's own to shape: a member more says nothing there.
OPEN = {"facts", "facts.vault", "facts.item", "facts.estate"}
OPTIONAL = {"urn:vaultgate:decision:1": {"budgets"}, "deny.*": {"control", "rule"}}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

# What is read again and again here is short.
SMALL = ("[log]\n", '[log]\nsegment_bytes = 1048576\nemergency_bytes = 262144\nappend_timeout = "20s"\n')
ACTORS = ("asserts_flows = true\n", "asserts_flows = true\nasserts_actors = true\n")

FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time")
def is_time(value):
    return not isinstance(value, str) or TIME.fullmatch(value) is not None


def schemas():
    """Those of input and decision, as they are printed."""
    command = [program("vaultgate"), "policy", "schema"]
    both = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return both["input"], both["decision"]


def validator(schema):
    return Draft202012Validator(schema, format_checker=FORMATS)


def whole(world, recorded):
    """An input that is long is kept beside the log, by its digest."""
    if "blob" not in recorded:
        return recorded
    kept = (world.log / "blobs/sha256" / recorded["blob"].removeprefix("sha256:")).read_bytes()
    if f"sha256:{hashlib.sha256(kept).hexdigest()}" != recorded["blob"] or len(kept) != recorded["bytes"]:
        raise AssertionError(f"what is kept is not what is recorded: {recorded}")
    return json.loads(kept)


def returned(decision):
    """What policy returned: the gateway adds what went wrong with it."""
    return {name: value for name, value in decision.items() if name != "fault"}


# --- a schema and a document side by side ------------------------------------------------

def branches(schema, root):
    """What a description may come to: references followed, alternatives side by side."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    inner = schema.get("anyOf") or schema.get("oneOf")
    return [schema] if inner is None else [found for one in inner for found in branches(one, root)]


def types(schemas):
    """Every type that one of these allows."""
    found = set()
    for one in schemas:
        named = one.get("type", TYPES)
        found.update([named] if isinstance(named, str) else named)
    return found


def described(schema, root, value, path=()):
    """Each place that the schema says something of: path, its branch, the types there, the value."""
    every = branches(schema, root)
    fits = [one for one in every if validator({**one, "$defs": root.get("$defs", {})}).is_valid(value)]
    [one] = fits
    yield path, one, types(every), value
    if isinstance(value, dict):
        for name, inner in one.get("properties", {}).items():
            if name in value:
                yield from described(inner, root, value[name], (*path, name))
    if isinstance(value, list) and "items" in one:
        for place, inner in enumerate(value):
            yield from described(one["items"], root, inner, (*path, place))


def places(schema, root=None, where=""):
    """Every description within a schema, each once, with a path to it."""
    root = root or schema
    for one in branches(schema, root):
        yield where, one
        for name, inner in one.get("properties", {}).items():
            yield from places(inner, root, f"{where}.{name}".strip("."))
        if "items" in one:
            yield from places(one["items"], root, f"{where}.*")


def at(document, path):
    for step in path:
        document = document[step]
    return document


def changed(document, path, how):
    """A copy in which `how` was done to what stands there."""
    other = copy.deepcopy(document)
    if not path:
        return how(other)
    at(other, path[:-1])[path[-1]] = how(at(other, path))
    return other


def without(name):
    return lambda value: {key: one for key, one in value.items() if key != name}


def renamed(name):
    return lambda value: {f"{key}s" if key == name else key: one for key, one in value.items()}


def wrong(schema, allowed, value):
    """Values that the description of this place rules out."""
    if "const" in schema or "enum" in schema:
        words = schema.get("enum", [schema.get("const")])
        yield from (one for one in OTHERS if one not in words)
        if isinstance(value, str):
            # Words are told apart by their case, and by what stands around them.
            yield from (value.upper(), f"{value} ", f"{value}s")
        return
    yield from (one for one in OTHERS if TYPES[OTHERS.index(one)] not in allowed)
    for name, step in (("minimum", -1), ("maximum", 1)):
        if name in schema and "integer" in allowed:
            yield schema[name] + step
    if schema.get("format") == "date-time":
        yield from ("yesterday", "2026-01-01")
    if "pattern" in schema:
        yield from ("", "?", "A B")
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if any(name in schema for name in ("minLength", "minItems", "minProperties")):
        yield type(value)()


def variants(schema, document, seen):
    """Every way to break the document that the schema is to notice: what was done, and the result.

    What is `seen` already, in another document or in another place, is not broken again.
    """
    for path, one, allowed, value in described(schema, schema, document):
        mark = id(one), isinstance(value, dict)
        if mark in seen:
            continue
        seen.add(mark)
        where = ".".join(map(str, path)) or "it"
        if isinstance(value, dict):
            for name in one.get("required", ()):
                yield f"{where} without `{name}`", changed(document, path, without(name))
            if one.get("additionalProperties") is False:
                for name in value:
                    yield f"{where} with `{name}` misspelt", changed(document, path, renamed(name))
        for other in wrong(one, allowed, value):
            yield f"{where} as {other!r}", changed(document, path, lambda _, other=other: other)


# --- what a gateway recorded --------------------------------------------------------------

def wider(point):
    """Requests of further classes, whatever becomes of them."""
    for kind in ("AlternateLocation", "OriginalLocation", "Somehow"):
        method, target, body = restore(point)
        elsewhere = {"recoveryType": kind, "targetResourceGroupId": GROUP.replace("rg1", "rg2")}
        yield method, target, {"properties": {**body["properties"], **elsewhere}}
    lock = {"properties": {"vaultCriticalOperationLock": {}}}
    at_point = f"{item('vm2')}/recoveryPoints/{point}"
    yield "POST", f"{at_point}/provisionInstantItemRecovery?{API}", {"properties": {}}
    yield "PATCH", f"{VAULT}?{API}", {"tags": {"owner": "somebody"}, "nobodyKnowsThis": 1}
    yield "DELETE", f"{VAULT}/backupResourceGuardProxies/VaultProxy?{API}", None
    yield "PUT", f"{VAULT}/backupResourceGuardProxies/VaultProxy?{API}", lock
    yield "POST", f"{VAULT}/backupJobs/j1/cancel?{API}", None


class Traffic:
    """A spread of requests, by everybody, of every kind, with every end."""

    def __init__(self, world):
        self.world = world

    def token(self, who, issuer="oidc", **claims):
        return self.world.token(who, issuer=issuer, claims=claims)

    def send(self, token, request, expected=None, **headers):
        method, target, body = request
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.world.send(method, target, token, body, {"User-Agent": "schemas/1", **sent})
        verdict = answer.header("x-vaultgate-decision")
        if expected is not None and verdict != expected:
            raise AssertionError(f"{method} {target}: {verdict}, not {expected}: {answer}")
        return answer

    def desk(self, who, path, body, **claims):
        """A word at the console."""
        token = self.world.token(who, audience=AUDIENCE, claims=claims)
        console = World(dict(self.world.env, VAULTGATE_URL=self.world.env["VAULTGATE_CONSOLE_URL"]))
        answer = console.send("POST", f"{OWN}/{path}", token, body)
        if answer.status != 200:
            raise AssertionError(f"{path} at the console: {answer}")
        return answer.json()

    def everyday(self):
        operator, point = self.token("operator"), points(self.world, self.token("operator"))[0]
        instances = f"{GROUP}/providers/Microsoft.DataProtection/backupVaults/bv1/backupInstances"
        reads = (read(), *(("GET", f"{path}?{API}", None) for path in (VAULT, item("vm2"), instances)))
        for who in ("operator", "reader", "agent", "flow", "custodian"):
            for issuer in ("oidc", "entra"):
                self.send(self.token(who, issuer), reads[0])
        for request in reads:
            self.send(operator, request, "allow")
        self.send(operator, backup(), "allow", CommandName="backup protection backup-now",
                  X_Vaultgate_Justification="before the change", X_Vaultgate_Flow_Run="run-7")
        self.send(operator, restore(point), "allow", Idempotency_Key=str(uuid.uuid4()))
        for request in (denied(), unknown(), restore(point, "vm9"), *wider(point)):
            self.send(operator, request)
        # Who has no role, who is of no known kind, who acts for somebody, who runs a flow.
        for who, claims in (("stranger", {}), ("agent", {}), ("reader", {}), ("operator", {"vg_kind": None}),
                            ("operator", {"acr": "urn:example:mfa", "act": {"sub": "agent"}}),
                            ("agent", {"person": "operator", "act": {"sub": "a", "act": {"sub": "b"}}}),
                            ("flow", {}), ("flow", {"vg_flow": "nightly"})):
            token = self.token(who, **claims)
            for request in (reads[1], backup("vm2"), denied("vm2"), restore(point)):
                self.send(token, request)
        # A body that is kept beside the log, for its length.
        big = {"properties": {"backupManagementType": "AzureIaasVM", "note": "x" * 60_000}}
        self.send(operator, ("PUT", f"{VAULT}/backupPolicies/big?{API}", big))
        stop = {"properties": {"protectedItemType": "Microsoft.Compute/virtualMachines", "policyId": "",
                               "protectionState": "ProtectionStopped", "sourceResourceId":
                               f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm4"}}
        self.send(self.token("custodian"), ("PUT", f"{item('vm4')}?{API}", stop))
        self.send(operator, ("PUT", f"{item('vm4')}?{API}", stop))

    def asked_only(self):
        operator = self.token("operator")
        self.send(operator, denied(), Vaultgate_Dry_Run="true")
        self.send(operator, backup(), Vaultgate_Dry_Run="true")
        method, target, body = backup("vm3")
        for who in ("operator", "agent", "stranger"):
            self.send(self.token(who), ("POST", f"{OWN}/preflight", {
                "method": method, "target": target, "body": body}))
        question = {"subject": {"type": "user", "id": "reader"}, "resource": {"type": "vault", "id": VAULT}}
        for verb in ("read", "delete"):
            action = {"name": f"Microsoft.RecoveryServices/vaults/{verb}"}
            self.send(self.token("reader"), ("POST", "/access/v1/evaluation", {**question, "action": action}))

    def approved(self):
        """A delete that waits for two others, and is then sent."""
        custodian = self.token("custodian")
        waits = self.send(custodian, denied("vm1"), "approval")
        approval = waits.json()["error"]["additionalInfo"][0]["info"]["approval"]
        word = {"digest": approval["digest"], "reason": "seen"}
        self.send(custodian, denied("vm1"), Vaultgate_Approval=approval["approvalId"])
        for who in ("approver-a", "approver-b"):
            self.desk(who, f"approvals/{approval['approvalId']}/approve", word)
        self.send(custodian, denied("vm1"), "allow", Vaultgate_Approval=approval["approvalId"])
        self.send(custodian, denied("vm1"), Vaultgate_Approval=approval["approvalId"])

    def troubled(self):
        """While destruction is frozen, and a glass is broken for the reader."""
        token, point = self.token("reader"), points(self.world, self.token("operator"))[0]
        self.send(token, restore(point), "deny")
        self.desk("soc", "incident/freeze", {"reason": "a drill"})
        for who in ("soc", "approver-a"):
            self.desk(who, "incident/fast-path", {"reason": "a drill"}, groups=["soc"])
        person = self.world.record(self.send(token, read()).header("x-vaultgate-decision-id"))
        self.desk("soc", "incident/break-glass", {
            "person": person["input"]["principal"]["person"], "reason": "vm2 is gone"})
        for request in (restore(point), read(), denied()):
            self.send(token, request)


class Recorded(unittest.TestCase):
    """One gateway with the policies that ship, and all that it wrote down."""

    @classmethod
    def setUpClass(cls):
        cls.input, cls.decision = schemas()
        cls.world = World.start(None, UNLIMITED + CONSOLE, [SMALL, ACTORS])
        cls.addClassCleanup(cls.world.stop)
        traffic = Traffic(cls.world)
        for part in (traffic.everyday, traffic.asked_only, traffic.approved, traffic.troubled):
            part()
        cls.records = [one for one in cls.world.records() if one["kind"] in JUDGED]
        cls.inputs = [whole(cls.world, one["input"]) for one in cls.records]
        cls.decisions = [returned(one["decision"]) for one in cls.records]

    def fits(self, schema, documents):
        judge = validator(schema)
        for record, document in zip(self.records, documents, strict=True):
            with self.subTest(record=record["id"], kind=record["kind"]):
                self.assertEqual([f"{error.json_path}: {error.message[:300]}"
                                  for error in judge.iter_errors(document)], [])

    def test_every_recorded_input_fits(self):
        self.fits(self.input, self.inputs)
        print(f"{len(self.inputs)} inputs", end=" ")

    def test_every_recorded_decision_fits(self):
        self.fits(self.decision, self.decisions)
        print(f"{len(self.decisions)} decisions", end=" ")

    def test_the_traffic_was_of_every_kind(self):
        # Otherwise it would say little that all of it fits.
        def seen(*path):
            return {json.dumps(at(one, path), sort_keys=True) for one in self.inputs}

        self.assertEqual({one["kind"] for one in self.records}, set(JUDGED))
        self.assertEqual({one["verdict"] for one in self.records}, {"allow", "deny"})
        self.assertEqual(seen("preflight"), {"true", "false"})
        for path, least in (("principal.kind", 4), ("principal.issuer", 2), ("resource.type", 4),
                            ("operation.class", 7), ("operation.method", 4), ("principal.actors", 3),
                            ("operation.body_unknown", 2)):
            self.assertGreaterEqual(len(seen(*path.split("."))), least, path)
        # What may be null was something at least once.
        for path in ("flow", "approval", "incident", "request.restore", "request.delta", "request.body",
                     "request.before", "resource.item", "resource.tags", "resource.region", "activity.agent",
                     "activity.person", "principal.person", "principal.acr", "principal.auth_time",
                     "principal.app", "principal.tenant", "claimed.flow_run", "claimed.command",
                     "claimed.justification", "claimed.user_agent"):
            with self.subTest(path):
                self.assertNotEqual(seen(*path.split(".")) - {"null"}, set())
        self.assertTrue(any((one["incident"] or {}).get("break_glass") for one in self.inputs))
        self.assertTrue(any("blob" in one["input"] for one in self.records), "none is kept beside the log")
        for name in ("deny", "grants", "obligations"):
            self.assertTrue(any(one[name] for one in self.decisions), name)

    def breaks(self, schema, documents):
        """Each place of the schema that one of these has, broken once in every way."""
        judge, seen, tried = validator(schema), set(), 0
        missed = []
        for document in documents:
            for what, broken in variants(schema, document, seen):
                tried += 1
                if judge.is_valid(broken):
                    missed.append(what)
        self.assertEqual(missed, [])
        return tried, seen

    def test_a_broken_input_does_not_fit(self):
        tried, seen = self.breaks(self.input, self.inputs)
        self.assertGreater(tried, 300)
        met = {mark for mark, _ in seen}
        for where, one in places(self.input):
            with self.subTest(where):
                self.assertIn(id(one), met, "no record has it")
        print(f"{tried} broken inputs", end=" ")

    def test_a_broken_decision_does_not_fit(self):
        tried, seen = self.breaks(self.decision, [*self.decisions, {
            "allow": False, "deny": [], "grants": ["a name"], "obligations": []}])
        self.assertGreater(tried, 80)
        met = {mark for mark, _ in seen}
        for where, one in places(self.decision):
            with self.subTest(where):
                self.assertIn(id(one), met, "no record has it")
        print(f"{tried} broken decisions", end=" ")

    def test_what_authors_get_wrong(self):
        # The same by name.
        document = self.inputs[0]
        for what, broken in (
                ("a member less", changed(document, (), without("facts"))),
                ("a misspelt member", changed(document, ("principal",), renamed("roles"))),
                ("another class", changed(document, ("operation", "class"), lambda _: "destroy")),
                ("another kind", changed(document, ("principal", "kind"), lambda _: "robot")),
                ("another version", changed(document, ("schema",), lambda _: "vaultgate.input/2")),
                ("a count that is text", changed(document, ("activity", "principal", "delete", "24h"),
                                                 lambda _: "1"))):
            self.assertNotEqual(broken, document)
            self.assertFalse(validator(self.input).is_valid(broken), what)
        good = {"allow": True, "deny": [], "grants": [{"role": "operator"}], "obligations": []}
        self.assertTrue(validator(self.decision).is_valid(good))
        quorum = {"type": "approval", "quorum": 2, "from": ["group:a"], "ttl": "4h", "cooling_off": "0s"}
        self.assertTrue(validator(self.decision).is_valid({**good, "obligations": [quorum]}))
        for broken in ({"allow": True}, {**good, "allow": "true"}, {**good, "obligation": []},
                       {**good, "grants": [7]}, {**good, "deny": ["no"]},
                       {**good, "obligations": [{**quorum, "quorum": 0}]},
                       {**good, "obligations": [{**quorum, "from": ["everybody"]}]},
                       {**good, "obligations": [{**quorum, "ttl": "4 hours"}]}, True, [], None):
            self.assertFalse(validator(self.decision).is_valid(broken), broken)

    def test_an_answer_that_is_no_decision(self):
        # It is recorded as a denial, in the form of one, and says what was wrong beside it.
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="vaultgate-policies-")))
        policies = shutil.copytree(REPOSITORY / "tests/bundles/allow-deletes", folder / "policies")
        rules = policies / "vaultgate/decision.rego"
        rules.write_text(rules.read_text(encoding="utf-8") + BROKEN, encoding="utf-8")
        other = self.world.replica("broken", policies, UNLIMITED, [SMALL])
        self.addCleanup(other.stop)
        answer = Traffic(other).send(other.token("operator"), backup(), "deny")
        self.assertEqual(answer.reason(), "policy-malformed", answer)
        record = other.record(answer.header("x-vaultgate-decision-id"))
        self.assertEqual(record["decision"]["fault"]["code"], "policy-malformed")
        self.assertTrue(validator(self.decision).is_valid(returned(record["decision"])))
        self.assertTrue(validator(self.input).is_valid(record["input"]))
        self.assertFalse(validator(self.decision).is_valid(record["decision"]), "the fault is the gateway's")


class Schemas(unittest.TestCase):
    """The schemas themselves."""

    def test_they_are_schemas_of_the_dialect_that_they_name(self):
        for schema in schemas():
            self.assertEqual(schema["$schema"], Draft202012Validator.META_SCHEMA["$id"])
            Draft202012Validator.check_schema(schema)
            self.assertFalse(validator(schema).is_valid(7))

    def test_every_word_means_something(self):
        for schema in schemas():
            for where, one in places(schema):
                with self.subTest(where):
                    self.assertEqual(set(one) - WORDS, set())
                    members = set(one.get("properties", ()))
                    if members and where not in OPEN:
                        self.assertIs(one.get("additionalProperties"), False, "a misspelt member would pass")
                        self.assertEqual(members - set(one["required"]), OPTIONAL.get(where or schema["$id"], set()))
                    self.assertEqual(set(one.get("required", ())) - members, set())


def main():
    chosen = options(__doc__.splitlines()[0]).parse_args()
    return run("schemas", only=chosen.only)


if __name__ == "__main__":
    sys.exit(main())
