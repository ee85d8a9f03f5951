"""Two gateways on one PostgreSQL, and people who ask and approve at either."""

import contextlib
import http.client
import json
import os
import pathlib
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "crash")]

from postgres import Postgres  # noqa: E402
from world import API, REPOSITORY, UNLIMITED, Answer, World, item  # noqa: E402

CONSOLE = (REPOSITORY / "tests/data/console.toml").read_text(encoding="utf-8")
BUNDLE = REPOSITORY / "tests/bundles/approved-changes"
APPROVALS = "/_vaultgate/v1/approvals"
AUDIENCE = "api://vaultgate-console"
# Tokens of the console are good for five minutes after the sign-in.
FRESH = 120
PATIENT = ("[log]\n", '[log]\nappend_timeout = "20s"\n')


def backup(number):
    """A backup like no other: kept until a time of its own."""
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_900_000_000 + number))
    return {"properties": {"objectType": "IaasVMBackupRequest", "recoveryPointExpiryTimeInUTC": f"{until}Z"}}


class Line:
    """A connection that stays open, with a token that is renewed."""

    def __init__(self, world, url, persona, audience=None):
        self.world, self.persona, self.audience = world, persona, audience
        self.parts = urllib.parse.urlsplit(url)
        self.connection = None
        self.token, self.minted = None, 0.0

    def send(self, method, path, body=None, headers=()):
        if time.monotonic() - self.minted > FRESH:
            more = {"audience": self.audience} if self.audience else {}
            self.token, self.minted = self.world.token(self.persona, **more), time.monotonic()
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(
                self.parts.hostname, self.parts.port, context=self.world.context(), timeout=60)
        sent = {**dict(headers), "Authorization": f"Bearer {self.token}"}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            self.connection.request(method, path, body=data, headers=sent)
            answer = self.connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Pair:
    """The two gateways; `worlds` in order."""

    def __init__(self, policies=BUNDLE, replace=()):
        self.stack = contextlib.ExitStack()
        try:
            self.postgres = self.stack.enter_context(contextlib.closing(Postgres()))
            self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
            address = self.folder / "store.url"
            address.write_text(self.postgres.address(), encoding="utf-8")
            os.chmod(address, 0o600)
            shared = [
                ('path = "store.db"', f'postgres = "file:{address}"'),
                # What one gateway sealed the other opens.
                ('key = "custody.key"', f'key = "{self.folder / "custody.key"}"'),
                PATIENT,
                *replace,
            ]
            extra = UNLIMITED + CONSOLE
            self.settings = policies, extra, shared
            first = self.stack.enter_context(World.start(policies, extra, shared))
            self.worlds = [first]
            second = first.replica("second", policies, extra, shared)
            self.stack.callback(second.stop)
            self.worlds.append(second)
        except BaseException:
            self.stack.close()
            raise

    @property
    def first(self):
        return self.worlds[0]

    def line(self, which, persona="operator"):
        return Line(self.first, self.worlds[which].url, persona)

    def desk(self, which, persona="approver-a"):
        """A line to the console of a gateway."""
        url = self.worlds[which].env["VAULTGATE_CONSOLE_URL"]
        return Line(self.first, url, persona, AUDIENCE)

    def oracle(self):
        return self.first.oracle(also=self.worlds[1:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()


def asked(answer):
    """Id and digest of the approval that a refusal names."""
    if answer.status != 403 or answer.header("x-vaultgate-decision") != "approval":
        raise AssertionError(f"no approval was asked for: {answer}")
    info = answer.json()["error"]["additionalInfo"][0]["info"]["approval"]
    return info["approvalId"], info["digest"]


def approve(desk, approval, digest):
    answer = desk.send("POST", f"{APPROVALS}/{approval}/approve", {"digest": digest, "reason": "seen"})
    if answer.status != 200:
        raise AssertionError(f"it was not approved: {answer}")


def trigger(name="vm1"):
    return f"{item(name)}/backup?{API}"
