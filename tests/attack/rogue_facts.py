"""Hostile answers to the gateway's own reads: a change that rests on them is refused.

The starter policy lets no change of this kind through without the vault's posture; here the
operator role is given the classes that need it. An Azure that lies in good form cannot be told
from one that does not; what is not understood, or comes from nobody, must never count as known.
"""

import gzip
import pathlib
import shutil
import tempfile

from rogue_arm import encode, response
from rogue_stage import API, MAX_ANSWER, hold, reason, told
from world import PROD, REPOSITORY

GRANTED = '"operator": {"read", "validate", "snapshot", "restore"'
MORE = ', "protect"'
READS = ("vault", "vaultconfig", "backupResourceGuardProxies", "before")


def bundle():
    """The starter policies with an operator who may protect."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-policies-")) / "policies"
    shutil.copytree(REPOSITORY / "policies", folder)
    roles = folder / "vaultgate/roles.rego"
    text = roles.read_text(encoding="utf-8")
    if GRANTED not in text:
        raise AssertionError("the operator role is not where this suite looks for it")
    roles.write_text(text.replace(GRANTED, GRANTED + MORE), encoding="utf-8")
    return folder


def target(vault):
    inner = "iaasvmcontainerv2%3Brg1%3Bvm1"
    return (f"{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer%3B{inner}"
            f"/protectedItems/VM%3B{inner}?{API}")


def protection(vault):
    group = f"/subscriptions/{PROD}/resourceGroups/rg1"
    return encode({"properties": {
        "protectedItemType": "Microsoft.Compute/virtualMachines", "policyId": f"{vault}/backupPolicies/daily",
        "sourceResourceId": f"{group}/providers/Microsoft.Compute/virtualMachines/vm1"}})


def which(asked):
    """Which of the reads before a change this is."""
    last = asked.path.rsplit("/", 1)[-1]
    if last == asked.vault:
        return "vault"
    return last if last in READS else "before"


def poisons(stage):
    """Name and answer; `None` for what ends the connection."""
    def changed(asked):
        return encode(stage.arm.document(asked))

    yield from {
        "500": lambda a: response({}, "500 Internal Server Error"), "400": lambda a: response({}, "400 Bad Request"),
        "401": lambda a: response({}, "401 Unauthorized"), "403": lambda a: response({}, "403 Forbidden"),
        "a redirect": lambda a: response(changed(a), "302 Found", [("Location", f"{stage.lure.url}/planted")]),
        "a redirect to itself": lambda a: response(changed(a), "307 Temporary Redirect", [("Location", f"{stage.arm.url}{a.target}")]),
        "101": lambda a: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + changed(a),
        "202": lambda a: response(b"", "202 Accepted"), "206": lambda a: response(changed(a)[:10], "206 Partial Content"),
        "no JSON": lambda a: response(b"<html/>"), "empty": lambda a: response(b""), "null": lambda a: response(b"null"),
        "a list": lambda a: response([]), "a word": lambda a: response(b'"planted"'), "a number": lambda a: response(b"1"),
        "half": lambda a: response(changed(a)[:-1]), "text behind it": lambda a: response(changed(a) + b"{}"),
        "a byte order mark": lambda a: response(b"\xef\xbb\xbf" + changed(a)),
        "deep nesting": lambda a: response(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
        "a member twice": lambda a: response(changed(a)[:-1] + b',"properties":{},"properties":{"softDeleteFeatureState":"AlwaysON"},"value":[],"value":[{}]}'),
        "gzip": lambda a: response(gzip.compress(changed(a)), headers=[("Content-Encoding", "gzip")]),
        "too large": lambda a: response(changed(a).ljust(MAX_ANSWER + 1)),
        "an error that says 200": lambda a: response({"error": {"code": "ServerTimeout", "message": "planted"}}),
        "of another vault": lambda a: response(changed(a).replace(a.vault.encode(), b"planted")),
        "cut off": None,
    }.items()


def honest(stage, line, asked):
    """Nothing stands where the change is to be made, and all else is as it should be."""
    if asked.method == "GET" and which(asked) == "before":
        return line.send(response({"error": {"code": "ResourceNotFound"}}, "404 Not Found"))
    return line.send(stage.arm.honest(asked))


def asked_for(stage, play):
    vault = stage.arm.vault(play)
    return vault, stage.ask("PUT", target(vault), body=protection(vault))


def one(stage, read, make):
    poisoned = []

    def play(line, asked):
        if asked.method != "GET" or which(asked) != read or asked.operator:
            return honest(stage, line, asked)
        poisoned.append(asked.target)
        if make is None:
            return line.reset()
        return line.send(make(asked))

    vault, exchange = asked_for(stage, play)
    hold(poisoned, f"the gateway did not read this: {told(exchange)}")
    arrived = [a.method for a in stage.arm.about(vault)]
    hold(not arrived, f"the change was sent on: {arrived}, {exchange.status}")
    hold(len(exchange.replies) == 1 and exchange.status in (403, 502, 503), told(exchange))
    hold(exchange.header("x-vaultgate-decision") != "allow", told(exchange))
    return f"{exchange.status} {reason(exchange.replies[0])}"


def control(stage):
    """With honest answers the same change goes through: the refusals are for the answers."""
    vault, exchange = asked_for(stage, lambda line, asked: honest(stage, line, asked))
    hold(exchange.status == 200, told(exchange))
    hold([a.method for a in stage.arm.about(vault)] == ["PUT"], "not sent once")


def cases(stage):
    yield "facts: honest answers let it through", lambda: control(stage)
    for name, make in poisons(stage):
        for read in READS if name != "of another vault" else ("vault",):
            # A resource that cannot be read is not absent; one of another form may be anything.
            yield f"facts: {read}, {name}", lambda read=read, make=make: one(stage, read, make)
