#!/usr/bin/env python3
"""Policy bundles in the format of Open Policy Agent, packed and signed by code that is not the product's.

    bundles.py [TEST...]

A bundle service stands in for the one that a fleet has: it answers well, badly, late or not at all.
What a holder of a configured key signed comes into force; anything else leaves the bundle in force
that is, says why in the log, and the gateway goes on deciding. Archives are made with `tarfile`,
signatures with PyJWT, digests by the lines below: who reads the format differently fails here.
"""

import base64
import concurrent.futures
import contextlib
import hashlib
import hmac
import http.server
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from world import API, REPOSITORY, UNLIMITED, VAULT, World, options, program, run, until  # noqa: E402

CONTENT = REPOSITORY / "tests/bundles/allow-deletes"
SIGNATURES = ".signatures.json"
RULES = "vaultgate/decision.rego"
ODD = "vaultgate/odd/data.json"
SCOPE = "production"
TOKEN = "a-token-that-nobody-is-to-see"
MAX_BYTES = 1 << 18
HASHES = {"SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512", "SHA-1": "sha1", "MD5": "md5"}
# What one canonical text takes care of: order, spaces, escapes, numbers as they are written.
ODD_DATA = """{ "z" : [1.50, 1e3, 2E+2, 12345678901234567890, 0.1],
  "a": {"\\u00fc": "<\\u0026>", "line": "\\u2028|\\t|\\u0001|\\/", "B": null, "b": {} }, "": [ true , [ ] ] }
"""
NUMBERS = itertools.count(1)


# --- bundles ---------------------------------------------------------------------------

class Written(str):
    """A number, kept as it is written."""


def canonical(value):
    """The one text of a document that signatures are over."""
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def digest(name, data, algorithm="SHA-256"):
    if name.rsplit("/", 1)[-1] in (".manifest", "data.json"):
        data = canonical(json.loads(data, parse_int=Written, parse_float=Written)).encode()
    return hashlib.new(HASHES[algorithm], data).hexdigest()


def listed(files, algorithm="SHA-256"):
    return [{"name": name, "hash": digest(name, data, algorithm), "algorithm": algorithm}
            for name, data in files.items()]


def revision():
    return f"r{next(NUMBERS)}"


def content(name=None):
    """The files of a bundle that operators may work with, of a revision of its own."""
    files = {path.relative_to(CONTENT).as_posix(): path.read_bytes()
             for path in sorted(CONTENT.rglob("*")) if path.is_file()}
    manifest = {"revision": name or revision(), "roots": ["vaultgate"], "rego_version": 1}
    return {**files, ".manifest": json.dumps(manifest, indent=1).encode(), ODD: ODD_DATA.encode()}


def revision_of(files):
    return json.loads(files[".manifest"])["revision"]


def packed(files, *more, prefix=""):
    """A gzipped tar archive; `more` are entries that no tidy program would write."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz", compresslevel=6) as archive:
        for name, data in [*files.items(), *more]:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return into.getvalue()


def entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


class Signer:
    """A key, and what it signs."""

    def __init__(self, name, algorithm, private):
        self.name, self.algorithm, self.private = name, algorithm, private

    def public(self):
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, kind)

    def secret(self):
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption())

    def token(self, claims, algorithm=None, **header):
        header = {"kid": self.name, **header}
        return jwt.encode(claims, self.private, algorithm or self.algorithm,
                          headers={name: value for name, value in header.items() if value is not None})


RSA = rsa.generate_private_key(65537, 2048)
ES256 = Signer("es256", "ES256", ec.generate_private_key(ec.SECP256R1()))
SIGNERS = (ES256, Signer("es384", "ES384", ec.generate_private_key(ec.SECP384R1())),
           Signer("eddsa", "EdDSA", ed25519.Ed25519PrivateKey.generate()),
           Signer("ps256", "PS256", RSA),
           Signer("rs256", "RS256", rsa.generate_private_key(65537, 2048)))
# Holds the private half of nothing that is configured, and says it does.
STRANGER = Signer("es256", "ES256", ec.generate_private_key(ec.SECP256R1()))


def claims(files, /, **changed):
    """The payload of a signature; what is changed to nothing is left out."""
    told = {"files": listed(files), "scope": SCOPE, "keyid": "es256", "iat": 1_700_000_000, "iss": "ci"}
    told.update(changed)
    return {name: value for name, value in told.items() if value is not None}


def signatures(*tokens):
    return json.dumps({"signatures": tokens}).encode()


def signed(files, signer=ES256, /, **changed):
    """The files with the signature of exactly these."""
    return {SIGNATURES: signatures(signer.token(claims(files, **changed))), **files}


def bundle(name=None, signer=ES256):
    return packed(signed(content(name), signer))


def forged(header, payload, sign):
    """A token that no library lets one make."""
    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    text = encoded(json.dumps(header).encode()) + b"." + encoded(json.dumps(payload).encode())
    return (text + b"." + encoded(sign(text))).decode()


def written(files, folder):
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def replaced(path, data):
    """Puts a file in the place of another, as whoever deploys does."""
    part = path.with_name(f"{path.name}.new")
    part.write_bytes(data)
    os.replace(part, path)


# --- the service -----------------------------------------------------------------------

class Service:
    """A bundle service that knows ETags and lets who asks wait for a change."""

    def __init__(self, patient=True):
        self.patient = patient
        self.change = threading.Condition()
        self.body, self.etag = b"", None
        self.tricks, self.asked, self.served = [], [], []
        self.server, self.port = None, 0
        self.start()

    def start(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(OSError):
                    service.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        # A connection that stalls is not waited for.
        self.server.block_on_close = False
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        with self.change:
            self.etag = self.etag and f"{self.etag[:-1]}-gone\""
            self.change.notify_all()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/bundle.tar.gz"

    def put(self, body, etag=""):
        """Another bundle from now on; whoever waits gets it at once."""
        with self.change:
            self.body, self.etag = body, f'"{next(NUMBERS)}"' if etag == "" else etag
            self.change.notify_all()
            return self.etag

    def trick(self, how):
        """The next answer is this one, given by whoever holds the connection."""
        with self.change:
            self.tricks.append(how)
            self.change.notify_all()

    def answer(self, handler):
        with self.change:
            self.asked.append((time.monotonic(), handler.path, dict(handler.headers.items())))
            number = len(self.asked)
            known = handler.headers.get("If-None-Match")
            wait = handler.headers.get("Prefer", "").partition("wait=")[2]
            if self.patient and wait and known and known == self.etag:
                self.change.wait_for(lambda: self.tricks or known != self.etag, float(wait))
            trick = self.tricks.pop(0) if self.tricks else None
            body, etag = self.body, self.etag
        if trick:
            trick(handler)
            return
        same = known is not None and known == etag
        handler.send_response(304 if same else 200)
        # What says that it lets others wait.
        handler.send_header("Content-Type", "application/vnd.openpolicyagent.bundles" if self.patient
                            else "application/gzip")
        if etag:
            handler.send_header("ETag", etag)
        if not same:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(b"" if same else body)
        with self.change:
            self.served.append((304 if same else 200, etag, number))

    def until_served(self, etag):
        """Which request brought it."""
        def fetched():
            return [number for code, one, number in self.served if (code, one) == (200, etag)]

        return until("the gateway to fetch it", fetched)[0]

    def until_asked(self, count=1):
        """The next requests, as headers in lower case."""
        at = len(self.asked)
        until("the gateway to ask", lambda: len(self.asked) >= at + count)
        return [({name.lower(): value for name, value in headers.items()}, when)
                for when, _, headers in self.asked[at:at + count]]


def status(code, *headers, body=b"no"):
    """A trick: an answer of this status."""
    def give(handler):
        handler.send_response(code)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


# --- gateways --------------------------------------------------------------------------

emulator = None


def setUpModule():
    global emulator
    emulator = World({}, pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-bundles-")))
    unittest.addModuleCleanup(emulator.stop)
    emulator.start_emulator(4.0)


def verification(*signers, scope=SCOPE):
    keys = ", ".join(f'{{ id = "{one.name}", file = "{one.name}.pem", algorithm = "{one.algorithm}" }}'
                     for one in signers)
    return f'verification = {{ keys = [{keys}], scope = "{scope}" }}\n'


def service_of(service, *more):
    settings = [f'url = "{service.url}"', 'token = "file:bundles.token"', 'every = "1s"',
                f"max_bytes = {MAX_BYTES}", 'keep = "bundles"', *more]
    return f'service = {{ {", ".join(settings)} }}\n'


def prepared(policy):
    """A gateway with this in its `[policy]`, not started yet."""
    name = f"gateway-{next(NUMBERS)}"
    world = World(dict(emulator.env), emulator.folder / name)
    world.folder.mkdir()
    (world.folder / "gateway.out").touch()
    for signer in SIGNERS:
        (world.folder / f"{signer.name}.pem").write_bytes(signer.public())
    (world.folder / "bundles.token").write_text(f"{TOKEN}\n", encoding="utf-8")
    world.write_config(None, UNLIMITED, [
        (f'dir = "{REPOSITORY / "policies"}"\n', policy),
        ('origin = "vaultgate.example/demo"', f'origin = "vaultgate.example/{name}"'),
        # What is read again and again here is short.
        ("[log]\n", '[log]\nsegment_bytes = 1048576\nemergency_bytes = 262144\nappend_timeout = "20s"\n'),
    ], world.folder)
    return world


def policy_records(world, event=None):
    return [one for one in world.records() if one["kind"] == "policy" and event in (None, one["event"])]


def vaultgate(*arguments):
    command = [program("vaultgate"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


class Case(unittest.TestCase):
    """What holds of every gateway here."""

    world = None

    def started(self, policy):
        world = prepared(policy)
        self.addCleanup(world.stop)
        self.world = world
        world.start_gateway()
        return world

    def serving(self, **how):
        service = Service(**how)
        self.addCleanup(service.stop)
        return service

    def refused_at_start(self, *words):
        """It does not start, and says why, and nothing worse."""
        before = len(self.world.console_text())
        with self.assertRaisesRegex(AssertionError, "the gateway did not start"):
            self.world.start_gateway()
        told = self.world.console_text()[before:]
        for word in words:
            self.assertIn(word, told)
        self.assertNotIn("panicked at", told)

    def decided(self):
        """Requests are answered: by the bundle of this revision."""
        self.assertIsNone(self.world.gateway.poll(), "the gateway ended")
        answer = self.world.send("GET", f"{VAULT}?{API}", self.world.token("operator"))
        self.assertEqual(answer.status, 200, answer)
        record = self.world.record(answer.header("x-vaultgate-decision-id"))
        return record["policy"]["revision"]

    def decides(self, name):
        self.assertEqual(self.decided(), name)

    def comes_to_decide(self, name):
        """What comes into force is recorded first."""
        until(f"`{name}` to decide", lambda: self.decided() == name, 10.0)

    def until_active(self, name):
        def there():
            return [one for one in policy_records(self.world, "activated") if one["revision"] == name]

        record = until(f"`{name}` to come into force", there)[-1]
        self.comes_to_decide(name)
        return record


# --- signatures ------------------------------------------------------------------------

class Served(Case):
    """One gateway, a service that lets it wait, keys of every kind."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.stop)
        cls.adopt(content())
        cls.service.put(cls.good)
        cls.world = prepared(service_of(cls.service, 'long_poll = "2s"') + verification(*SIGNERS))
        cls.addClassCleanup(cls.world.stop)
        cls.world.start_gateway()

    @classmethod
    def adopt(cls, files, archive=None):
        cls.active, cls.good = revision_of(files), archive or packed(signed(files))

    def setUp(self):
        # The last that was put there may still be on its way.
        self.service.until_served(self.service.put(self.good))
        self.service.until_asked()
        self.before, self.halfway = len(policy_records(self.world)), False

    def tearDown(self):
        """What is in force goes on deciding, and when it is offered again it is nothing new."""
        if self.halfway:
            return  # it has failed already
        self.decides(self.active)
        self.service.until_served(self.service.put(self.good))
        self.service.until_asked()
        self.assertEqual(len(policy_records(self.world)), self.before)
        self.assertNotIn("panicked at", self.world.console_text())

    def activates(self, files, archive):
        self.halfway = True
        self.adopt(files, archive)
        self.service.put(archive)
        record = self.until_active(revision_of(files))
        self.assertIsNone(record["problem"])
        self.before, self.halfway = self.before + 1, False

    def refuses(self, archive, *words):
        """It is not taken, for these reasons; what is in force stays, also for the next start."""
        self.halfway = True
        self.service.put(archive)
        records = until("a record", lambda: policy_records(self.world)[self.before:])
        self.assertEqual([one["event"] for one in records], ["rejected"], records)
        for word in words:
            self.assertIn(word, records[0]["problem"])
        self.assertIsNone(self.world.gateway.poll(), "the gateway ended")
        self.assertEqual((self.world.folder / "bundles/bundle.tar.gz").read_bytes(), self.good)
        self.before, self.halfway = self.before + 1, False

    def fails(self, trick, *words):
        """No bundle comes: that is said, and it is asked again, for the whole."""
        self.halfway, told = True, len(self.world.console_text())
        self.service.trick(trick)
        until(f"{words} on the console", lambda: all(
            word in self.world.console_text()[told:] for word in words))
        # By what is in force, while nothing comes.
        self.decides(self.active)
        [(again, _)] = self.service.until_asked()
        self.assertNotIn("if-none-match", again)
        self.assertEqual(len(policy_records(self.world)), self.before)
        self.halfway = False

    def tampered(self, name, old, new):
        files = signed(content())
        self.assertIn(old, files[name])
        return packed({**files, name: files[name].replace(old, new, 1)})


class Accepted(Served):
    def test_what_each_algorithm_signs_comes_into_force(self):
        for signer in SIGNERS:
            with self.subTest(signer.algorithm):
                files = content()
                self.activates(files, packed(signed(files, signer)))

    def test_longer_digests(self):
        for algorithm in ("SHA-384", "SHA-512"):
            files = content()
            self.activates(files, packed(signed(files, files=listed(files, algorithm))))

    def test_names_with_a_slash_ahead_as_opa_packs_them(self):
        files = content()
        self.activates(files, packed(signed(files), prefix="/"))
        files = content()
        names = [{**one, "name": f"/{one['name']}"} for one in listed(files)]
        self.activates(files, packed(signed(files, files=names), prefix="./"))

    def test_a_claim_more(self):
        files = content()
        self.activates(files, packed(signed(files, build="https://ci.example/7", keyid=None)))

    def test_data_is_signed_by_its_meaning(self):
        files = content()
        kept = signed(files)
        # A number is signed as it is written.
        numbers = files[ODD].replace(b"1.50", b"1.5")
        self.refuses(packed({**kept, ODD: numbers}), ODD, "not what was signed")
        # Spaces and escapes are nobody's business.
        spaced = files[ODD].replace(b"[ true", b"[\n true").replace(b"\\u00fc", "ü".encode())
        self.assertNotEqual(spaced, files[ODD])
        self.activates(files, packed({**kept, ODD: spaced}))


class Refused(Served):
    """What nobody with a key made as it is."""

    def test_a_changed_byte_of_a_rule(self):
        archive = self.tampered(RULES, b"default allow := false", b"default allow := true")
        self.refuses(archive, RULES, "not what was signed")

    def test_a_changed_value_of_the_data(self):
        archive = self.tampered("vaultgate/data.json", b'"delete_24h": 1', b'"delete_24h": 100')
        self.refuses(archive, "vaultgate/data.json", "not what was signed")

    def test_another_revision(self):
        self.refuses(self.tampered(".manifest", b'"revision": "', b'"revision": "x'), ".manifest",
                     "not what was signed")

    def test_an_unsigned_bundle(self):
        self.refuses(packed(content()), "not signed")

    def test_no_algorithm(self):
        files = content()
        for name in ("none", "None", ""):
            token = forged({"alg": name, "typ": "JWT", "kid": "es256"}, claims(files), lambda _: b"")
            self.refuses(packed({**files, SIGNATURES: signatures(token)}), f"`{name}`", "another algorithm")

    def test_a_public_key_as_a_shared_secret(self):
        for signer in (ES256, SIGNERS[-1]):
            files = content()
            token = forged({"alg": "HS256", "typ": "JWT", "kid": signer.name}, claims(files),
                           lambda text, key=signer.public(): hmac.digest(key, text, "sha256"))
            self.refuses(packed({**files, SIGNATURES: signatures(token)}), "`HS256`", "another algorithm")

    def test_digests_that_can_be_forged(self):
        for algorithm in ("SHA-1", "MD5"):
            files = content()
            self.refuses(packed(signed(files, files=listed(files, algorithm))), "digest", "can be forged")

    def test_the_key_of_somebody_else(self):
        files = content()
        self.refuses(packed(signed(files, STRANGER)), "the signature does not hold")
        token = STRANGER.token(claims(files), jwk=json.loads(
            jwt.algorithms.ECAlgorithm.to_jwk(STRANGER.private.public_key())))
        self.refuses(packed({**files, SIGNATURES: signatures(token)}), "the signature does not hold")

    def test_a_key_that_nobody_configured(self):
        files = content()
        token = STRANGER.token(claims(files), kid="k9")
        self.refuses(packed({**files, SIGNATURES: signatures(token)}), "`k9`", "not configured")

    def test_no_key_named_where_there_are_several(self):
        files = content()
        token = ES256.token(claims(files, keyid=None), kid=None)
        self.refuses(packed({**files, SIGNATURES: signatures(token)}), "names no key")

    def test_another_algorithm_than_the_key_is_for(self):
        files = content()
        token = SIGNERS[3].token(claims(files), algorithm="RS256")
        self.refuses(packed({**files, SIGNATURES: signatures(token)}), "`RS256`", "another algorithm")

    def test_another_scope_or_none(self):
        for scope in ("staging", None, ""):
            self.refuses(packed(signed(content(), scope=scope)), f"the scope `{scope or ''}`")

    def test_a_file_less(self):
        files = signed(content())
        del files["vaultgate/decision_test.rego"]
        self.refuses(packed(files), "vaultgate/decision_test.rego", "signed and missing")

    def test_a_file_more(self):
        rule = b"package vaultgate\n\nimport rego.v1\n\nallow if true\n"
        for name, data in (("vaultgate/more.rego", rule), ("vaultgate/more/data.json", b"{}")):
            self.refuses(packed(signed(content()), (name, data)), name, "it is not signed")

    def test_a_file_signed_twice(self):
        files = content()
        for other in (RULES, f"/{RULES}"):
            twice = [*listed(files), {"name": other, "hash": "0" * 64, "algorithm": "SHA-256"}]
            self.refuses(packed(signed(files, files=twice)), RULES, "signed twice")

    def test_a_file_that_is_there_twice(self):
        files = signed(content())
        evil = files[RULES].replace(b"default allow := false", b"default allow := true")
        for name in (RULES, f"./{RULES}", f"/{RULES}"):
            self.refuses(packed(files, (name, evil)), RULES, "twice")

    def test_two_signatures_or_none(self):
        files = content()
        token = ES256.token(claims(files))
        for tokens in ((token, token), (token, STRANGER.token(claims(files))), ()):
            self.refuses(packed({**files, SIGNATURES: signatures(*tokens)}), "one signature",
                         f"there are {len(tokens)}")

    def test_a_file_of_signatures_that_is_none(self):
        files = content()
        token = ES256.token(claims(files))
        twice = f'{{"signatures": ["{token}"], "signatures": ["{token}"]}}'
        for text in ("", "[]", "{}", '{"signatures": "x"}', '{"signatures": ["x"]}', twice,
                     f'{{"signatures": ["{token[:-9]}"]}}', f'{{"signatures": ["{token}"], "plugin": "x"}}'):
            self.refuses(packed({**files, SIGNATURES: text.encode()}), "signature")

    def test_a_signed_bundle_that_is_no_policy(self):
        files = content()
        self.refuses(packed(signed({**files, RULES: files[RULES] + b"\nnope(\n"})), RULES)


class Hostile(Served):
    """Archives that are not read as far as a signature."""

    def test_names_that_lead_out(self):
        rule = b"package vaultgate.escape\n"
        for name in ("../escape.rego", "a/../../escape.rego", "//escape.rego", "vaultgate/./escape.rego",
                     "a\\..\\escape.rego"):
            files = {**content(), name: rule}
            self.refuses(packed(signed(files)), "leads elsewhere")
        found = list(emulator.folder.rglob("escape.rego"))
        self.assertEqual(found, [], "something was unpacked")

    def test_what_is_no_plain_file(self):
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, RULES),
                             (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, "")):
            other = entry("vaultgate/other.rego", kind, target)
            self.refuses(packed(signed(content()), other), "no plain file")

    def test_a_link_in_the_place_of_a_signed_file(self):
        files = content()
        kept = signed(files)
        del kept[RULES]
        self.refuses(packed(kept, entry(RULES, tarfile.SYMTYPE, "other.rego")), RULES, "no plain file")

    def test_an_archive_that_grows(self):
        bomb = packed(signed(content()), ("vaultgate/big/data.json", bytes(80 << 20)))
        self.assertLess(len(bomb), MAX_BYTES)
        began = time.monotonic()
        self.refuses(bomb, "larger than")
        self.assertLess(time.monotonic() - began, 15.0)

    def test_an_archive_of_very_many_files(self):
        more = [(f"vaultgate/f{n}.rego", b"package vaultgate\n") for n in range(2_100)]
        self.refuses(packed(signed(content()), *more), "more than")

    def test_a_truncated_archive(self):
        for cut in (1, 20, len(self.good) // 2, len(self.good) - 9, len(self.good) - 1):
            self.refuses(self.good[:cut], "archive is not read")

    def test_rubbish(self):
        for rubbish in (b"", os.urandom(5_000), b"PK\x03\x04", b"<html>moved</html>", bytes(4_096)):
            self.refuses(rubbish, "archive is not read")

    def test_a_file_that_no_bundle_has(self):
        self.refuses(packed(signed(content()), ("policy.wasm", b"\0asm")), "policy.wasm", "no such file")


class Trouble(Served):
    """A service that answers with no bundle: the bundle in force stays."""

    def test_an_answer_larger_than_allowed(self):
        large = self.good + bytes(MAX_BYTES)
        self.fails(status(200, body=large), f"larger than {MAX_BYTES} bytes")

        def chunked(handler):
            handler.protocol_version = "HTTP/1.1"
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.send_header("Connection", "close")
            handler.end_headers()
            for at in range(0, len(large), 1 << 14):
                part = large[at:at + (1 << 14)]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            handler.wfile.write(b"0\r\n\r\n")

        self.fails(chunked, f"larger than {MAX_BYTES} bytes")

    def test_statuses_that_are_no_answer(self):
        for code in (204, 403, 500):
            self.fails(status(code, body=b"" if code == 204 else self.good), f"answered {code}")

    def test_a_redirect_is_not_followed(self):
        asked = len(self.service.asked)
        elsewhere = self.service.url.replace("/bundle", "/elsewhere/bundle")
        self.fails(status(302, ("Location", elsewhere)), "answered 302")
        self.assertEqual({path for _, path, _ in self.service.asked[asked:]} - {"/bundle.tar.gz"}, set())

    def test_a_coding_that_was_not_asked_for(self):
        self.fails(status(200, ("Content-Encoding", "gzip"), body=self.good), "content coding")

    def test_a_connection_that_stalls_or_ends_early(self):
        cut, stalled = threading.Event(), threading.Event()

        def stall(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(self.good)))
            handler.end_headers()
            handler.wfile.write(self.good[:100])
            handler.wfile.flush()
            stalled.set()
            cut.wait(60)

        def release():
            until("the stall", stalled.is_set)
            # It waits, and decides meanwhile.
            self.decides(self.active)
            cut.set()

        helper = threading.Thread(target=release)
        helper.start()
        self.fails(stall, "the connection broke")
        helper.join()


# --- the service -----------------------------------------------------------------------

class Asked(Case):
    """How the service is asked."""

    def asks(self, count, service, *more):
        service.put(packed(content("first")))
        self.started(service_of(service, *more))
        self.until_active("first")
        return service.until_asked(count)

    def test_by_etag_with_the_token_and_at_intervals(self):
        service = self.serving()
        asked = self.asks(3, service)
        first = {name.lower(): value for name, value in service.asked[0][2].items()}
        self.assertEqual((first["prefer"], first["authorization"]), ("modes=snapshot", f"Bearer {TOKEN}"))
        self.assertNotIn("if-none-match", first)
        for headers, _ in asked:
            self.assertEqual((headers["prefer"], headers["authorization"], headers["if-none-match"]),
                             ("modes=snapshot", f"Bearer {TOKEN}", service.etag))
        self.assertGreater(asked[2][1] - asked[0][1], 1.9)
        self.assertEqual([code for code, _, _ in service.served].count(200), 1, service.served)
        service.put(packed(content("second")), 'W/"weak"')
        self.until_active("second")
        self.assertEqual(service.until_asked()[0][0]["if-none-match"], 'W/"weak"')
        self.assertEqual([one["revision"] for one in policy_records(self.world)], ["first", "second"])
        self.assertNotIn(TOKEN, self.world.console_text())
        self.world.kill_gateway()
        for path in self.world.folder.rglob("*"):
            if path.is_file() and path.name != "bundles.token":
                self.assertNotIn(TOKEN.encode(), path.read_bytes(), path)

    def test_what_has_no_etag_comes_into_force_once(self):
        service = self.serving()
        service.put(packed(content("first")), None)
        self.started(service_of(service))
        asked = service.until_asked(3)
        self.assertTrue(all("if-none-match" not in headers for headers, _ in asked))
        self.decides("first")
        self.assertEqual(len(policy_records(self.world)), 1)

    def test_who_may_wait_says_so_and_is_answered_at_once(self):
        service = self.serving()
        asked = self.asks(2, service, 'long_poll = "2s"')
        self.assertEqual({headers["prefer"] for headers, _ in asked}, {"modes=snapshot;wait=2"})
        self.assertGreater(asked[1][1] - asked[0][1], 1.9)
        service.until_asked()
        # By the request that waits already.
        waiting = len(service.asked)
        self.assertEqual(service.until_served(service.put(packed(content("second")))), waiting)
        self.until_active("second")

    def test_a_service_that_lets_nobody_wait_is_not_asked_all_the_time(self):
        asked = self.asks(4, self.serving(patient=False), 'long_poll = "2s"')
        took = asked[3][1] - asked[0][1]
        self.assertGreater(took, 2.0, "every `every`, where the service lets nobody wait")


class Restarts(Case):
    """What is kept is good for a start without the service, and trusted no more than the service."""

    def test_the_service_is_needed_for_nothing_but_news(self):
        service = self.serving()
        service.put(bundle("first"))
        self.started(service_of(service, 'long_poll = "2s"') + verification(ES256))
        self.until_active("first")
        service.put(bundle("second"))
        self.until_active("second")
        service.stop()
        told = len(self.world.console_text())
        until("the failure to be told", lambda: "the bundle service: no connection"
              in self.world.console_text()[told:])
        self.decides("second")
        self.world.kill_gateway()
        self.world.start_gateway()
        self.decides("second")
        self.world.kill_gateway()
        # What is kept is verified like what comes.
        kept = self.world.folder / "bundles/bundle.tar.gz"
        good = kept.read_bytes()
        files = signed(content("second"))
        for bad, *words in (
                (packed({**files, RULES: files[RULES] + b"\n"}), RULES, "not what was signed"),
                (packed(content("second")), "not signed"),
                (good[:-200], "archive is not read")):
            kept.write_bytes(bad)
            self.refused_at_start(*words)
        kept.unlink()
        self.refused_at_start("the bundle service: no connection")
        kept.write_bytes(good)
        self.world.start_gateway()
        self.decides("second")
        # Nobody restarts it once the service is there again.
        service.start()
        self.world.stop_gateway()
        service.put(bundle("third"))
        self.world.start_gateway()
        self.until_active("third")


class Starts(Case):
    """The first bundle of all."""

    def prepare(self, archive, *more):
        self.service = self.serving()
        self.service.put(archive)
        self.world = prepared(service_of(self.service) + "".join(more))
        self.addCleanup(self.world.stop)

    def test_a_signature_that_nobody_would_look_at(self):
        self.prepare(bundle())
        self.refused_at_start("the bundle is signed", "policy.verification")

    def test_what_is_not_signed(self):
        self.prepare(packed(content()), verification(ES256))
        self.refused_at_start("the bundle is not signed")

    def test_a_key_of_another_curve(self):
        self.prepare(bundle(), verification(ES256).replace('"ES256"', '"ES384"'))
        self.refused_at_start("ES384 takes a key of the curve P-384")

    def test_one_that_was_refused_is_not_what_the_next_start_begins_with(self):
        self.prepare(bundle(signer=STRANGER), verification(ES256))
        self.refused_at_start("the signature does not hold")
        self.assertFalse((self.world.folder / "bundles/bundle.tar.gz").exists(), "what was refused is kept")
        self.service.put(bundle("good"))
        self.world.start_gateway()
        self.until_active("good")

    def test_of_one_key_no_name_is_needed(self):
        files = content("nameless")
        token = ES256.token(claims(files, keyid=None), kid=None)
        self.prepare(packed({**files, SIGNATURES: signatures(token)}), verification(ES256))
        self.world.start_gateway()
        self.until_active("nameless")

    def test_a_service_that_redirects(self):
        self.prepare(bundle(), verification(ES256))
        self.service.trick(status(307, ("Location", self.service.url)))
        self.refused_at_start("the bundle service", "307")


# --- without a service -----------------------------------------------------------------

class Archive(Case):
    """`policy.dir` names an archive."""

    def test_it_is_taken_over_when_it_is_replaced(self):
        self.world = prepared('dir = "bundle.tar.gz"\n' + verification(*SIGNERS))
        self.addCleanup(self.world.stop)
        place = self.world.folder / "bundle.tar.gz"
        place.write_bytes(bundle("first"))
        self.world.start_gateway()
        self.decides("first")
        replaced(place, bundle("second", SIGNERS[1]))
        self.until_active("second")
        done = vaultgate("policy", "rollback", "first", "--log", self.world.log, "--into", place)
        self.assertEqual(done.returncode, 0, done.stderr)
        until("the first again", lambda: policy_records(self.world, "activated")[2:])
        self.comes_to_decide("first")
        replaced(place, packed(content("third")))
        rejected = until("a record", lambda: policy_records(self.world, "rejected"))
        self.assertIn("not signed", rejected[0]["problem"])
        self.decides("first")

    def test_one_that_is_refused_is_refused_once(self):
        # Beside the log, where something is always written.
        self.world = prepared('dir = "bundle.tar.gz"\n')
        self.addCleanup(self.world.stop)
        place = self.world.folder / "bundle.tar.gz"
        place.write_bytes(packed(content("first")))
        self.world.start_gateway()
        replaced(place, b"rubbish")
        until("a record", lambda: policy_records(self.world, "rejected"))
        checkpoints = self.world.console_text().count("checkpoint ")

        def busy():
            """Records and checkpoints are written meanwhile, every two seconds."""
            self.decides("first")
            return self.world.console_text().count("checkpoint ") > checkpoints + 1

        until("two checkpoints", busy)
        self.assertEqual(len(policy_records(self.world, "rejected")), 1)


class Rollback(Case):
    """Back to what was in force before, by what is kept beside the log."""

    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-bundle-"))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        written(signed(content("a")), self.place)
        self.started(f'dir = "{self.place}"\n' + verification(ES256))
        self.until_active("a")

    def back(self, name):
        before = len(policy_records(self.world, "activated"))
        done = vaultgate("policy", "rollback", name, "--log", self.world.log, "--into", self.place)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"revision {name} ", done.stdout)
        record = until(f"`{name}` to be in force again", lambda: policy_records(
            self.world, "activated")[before:], 10.0)[-1]
        self.assertEqual(record["revision"], name)
        self.comes_to_decide(name)
        return record

    def test_the_bundle_before_is_in_force_again(self):
        more = b"package vaultgate.more\n"
        written(signed({**content("b"), "vaultgate/more.rego": more}), self.place)
        second = self.until_active("b")
        done = vaultgate("policy", "rollback", "--log", self.world.log)
        self.assertEqual([line.split()[1] for line in done.stdout.splitlines()], ["a", "b"])
        first, again = policy_records(self.world, "activated")[0], self.back("a")
        self.assertEqual((again["bundle"], again["replaces"]), (first["bundle"], second["bundle"]))
        self.assertFalse((self.place / "vaultgate/more.rego").exists())
        # By its digest too, and forwards.
        self.assertEqual(vaultgate("policy", "rollback", second["bundle"], "--log", self.world.log,
                                   "--into", self.place).returncode, 0)
        until("`b` again", lambda: policy_records(self.world, "activated")[3:])
        self.comes_to_decide("b")
        done = vaultgate("policy", "rollback", "c", "--log", self.world.log, "--into", self.place)
        self.assertEqual(done.returncode, 1)
        self.assertIn("`c`", done.stderr)
        self.assertEqual((self.place / "vaultgate/more.rego").read_bytes(), more)

    def test_from_a_folder_that_is_no_bundle_any_more(self):
        written(signed(content("b")), self.place)
        self.until_active("b")
        # A release that went wrong: what one goes back from.
        written({".manifest": b"{", "vaultgate/more/data.json": b"nope",
                 "vaultgate/more/more.rego": b"package vaultgate.more\n"}, self.place)
        until("the refusal", lambda: policy_records(self.world, "rejected"))
        self.decides("b")
        self.back("a")


# --- commands --------------------------------------------------------------------------

class Commands(unittest.TestCase):
    """What ours makes others read, and the reverse."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="vaultgate-bundle-")))
        for signer in SIGNERS:
            (self.folder / f"{signer.name}.pem").write_bytes(signer.public())
            (self.folder / f"{signer.name}.key").write_bytes(signer.secret())
        self.archive = self.folder / "bundle.tar.gz"

    def does(self, *arguments, code=0):
        done = vaultgate("policy", *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def inspect(self, signer, code=0, scope=SCOPE):
        return self.does("bundle", "inspect", self.archive, "--verification-key",
                         self.folder / f"{signer.name}.pem", "--key-id", signer.name,
                         "--algorithm", signer.algorithm, "--scope", scope, code=code)

    def read(self):
        with tarfile.open(self.archive) as archive:
            self.assertTrue(all(one.isfile() for one in archive))
            return {one.name: archive.extractfile(one).read() for one in archive}

    def judged(self, signer, files, scope=SCOPE):
        """By PyJWT, and by the digests above: signed by this key, each file, nothing else."""
        held = read_signatures(self.read())
        header = jwt.get_unverified_header(held)
        self.assertEqual([header[name] for name in ("alg", "kid", "typ")],
                         [signer.algorithm, signer.name, "JWT"])
        told = jwt.decode(held, signer.private.public_key(), algorithms=[signer.algorithm])
        self.assertEqual(told["scope"], scope)
        self.assertEqual(sorted(told["files"], key=lambda one: one["name"]),
                         sorted(listed(files), key=lambda one: one["name"]))

    def test_what_is_built_is_read_and_verified_by_others(self):
        for signer in SIGNERS:
            with self.subTest(signer.algorithm):
                files = content()
                source = written(files, self.folder / signer.name)
                who = ("--signing-key", self.folder / f"{signer.name}.key", "--key-id", signer.name,
                       "--algorithm", signer.algorithm, "--scope", SCOPE)
                told = self.does("bundle", "build", source, "-o", self.archive, *who)
                self.assertIn(revision_of(files), told)
                found = self.read()
                self.assertEqual({name: found[name] for name in found if name != SIGNATURES}, files)
                self.judged(signer, files)
                self.assertIn("the signature holds", self.inspect(signer))
                # Signed later, from an archive.
                self.does("bundle", "build", source, "-o", self.archive)
                plain = self.archive.read_bytes()
                self.assertNotIn(SIGNATURES, self.read())
                self.does("bundle", "build", source, "-o", self.archive)
                self.assertEqual(self.archive.read_bytes(), plain, "the same files give the same bytes")
                self.does("bundle", "sign", self.archive, "-o", self.archive, *who)
                self.judged(signer, files)

    def test_what_others_sign_holds(self):
        for signer in SIGNERS:
            with self.subTest(signer.algorithm):
                files = content()
                self.archive.write_bytes(packed(signed(files, signer)))
                told = self.inspect(signer)
                self.assertIn("the signature holds", told)
                self.assertIn(f"revision {revision_of(files)}", told)
                self.assertIn("scope", self.inspect(signer, 1, "staging"))
                self.assertIn("not verified", self.does("bundle", "inspect", self.archive))

    def test_what_does_not_hold_is_said(self):
        files = signed(content())
        self.archive.write_bytes(packed({**files, RULES: files[RULES] + b"\n"}))
        self.assertIn("not what was signed", self.inspect(ES256, 1))
        self.archive.write_bytes(packed(signed(content(), STRANGER)))
        self.assertIn("does not hold", self.inspect(ES256, 1))
        self.archive.write_bytes(packed(content()))
        self.assertIn("not signed", self.inspect(ES256, 1))
        self.archive.write_bytes(packed(signed(content())))
        self.assertIn("another algorithm", self.does(
            "bundle", "inspect", self.archive, "--verification-key", self.folder / "es384.pem",
            "--key-id", "es256", "--algorithm", "ES384", "--scope", SCOPE, code=1))

    def test_archives_are_checked_and_tested_like_folders(self):
        self.archive.write_bytes(packed(signed(content())))
        self.does("check", self.archive)
        self.does("test", self.archive)
        files = content()
        broken = {**files, RULES: files[RULES] + b"\nnope(\n"}
        self.archive.write_bytes(packed(signed(broken)))
        self.assertIn(RULES, self.does("check", self.archive, code=1))
        failing = {**files, "vaultgate/more_test.rego": b"package vaultgate_test\n\ntest_no if false\n"}
        self.archive.write_bytes(packed(failing))
        self.does("test", self.archive, code=2)

    def test_an_archive_is_attacked_like_its_folder(self):
        self.archive.write_bytes(packed(content()))
        folder = written(content(), self.folder / "plain")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            told = list(pool.map(lambda one: vaultgate("policy", "attack", one), (folder, self.archive)))
        self.assertEqual(told[0].returncode, told[1].returncode)
        lines = [[line for line in one.stdout.splitlines() if str(self.folder) not in line] for one in told]
        self.assertEqual(lines[0], lines[1])
        self.assertTrue(lines[0], told[0].stderr)


def read_signatures(files):
    [token] = json.loads(files[SIGNATURES])["signatures"]
    return token


# Each of these has gateways of its own, and mostly waits for them.
TOGETHER = (("Refused",), ("Accepted", "Hostile"), ("Trouble", "Archive"), ("Asked", "Restarts", "Starts"),
            ("Rollback", "Commands"))
# What is put into a watched folder.
BESIDE = HERE / "offered.py"


def together():
    """Every test, in a few processes at once."""
    commands = [[__file__, *(f".{name}." for name in names)] for names in TOGETHER] + [[BESIDE]]
    running = [subprocess.Popen([sys.executable, *command], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT) for command in commands]
    done, failed = 0, 0
    for process in running:
        told = process.communicate()[0]
        print(told)
        counts = re.search(r"^(?:bundles|offered): (-?\d+) passed, (\d+) failed$", told, re.MULTILINE)
        done += max(0, int(counts[1])) if counts else 0
        # What ended without a word has failed as well.
        failed += int(counts[2]) if counts else 1
        failed += process.returncode != 0 and counts is not None and counts[2] == "0"
    print(f"bundles: {done} passed, {failed} failed")
    return 1 if failed else 0


def main():
    chosen = options(__doc__.splitlines()[0]).parse_args()
    return run("bundles", only=chosen.only) if chosen.only else together()


if __name__ == "__main__":
    sys.exit(main())
