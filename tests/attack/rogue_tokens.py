"""The gateway's own credentials, sent back by an Azure or a login authority that is hostile.

The emulator mints `azcanary.<identity>.<32 hex>` as Azure tokens. The hostile server knows the
one that it was sent, and puts it wherever an answer has room: none of it, nor a half of it, may
reach a caller, the log, the console or the metrics. Whatever encodes it anew is beyond what a
gateway can see, and is not tried.
"""

import gzip
import json

import leaks
from rogue_arm import chunked, encode, response
from rogue_stage import API, MAX_ANSWER, hold, told, until

SECRETS = (b"vaultgate-operator-secret", b"vaultgate-reader-secret")


def needles(tokens):
    """What may stand nowhere: the canary's word, and each half of each token's random part."""
    found = {leaks.CANARY, *SECRETS}
    for token in tokens:
        random = token.rsplit(".", 1)[-1].encode()
        if len(random) >= 32:
            found |= {random[:16], random[16:]}
    return found


def held(stage, more):
    """Names of the places that hold any of it."""
    with stage.arm.lock:
        wanted = needles(stage.arm.tokens)
    return sorted(name for name, data in more.items() if any(one in data for one in wanted))


def none(stage):
    """Nothing of it in all that left the gateway."""
    haystacks = leaks.everything(stage)
    hold(len(haystacks["answers"]) > 1_000, "no answers were kept: the search proves nothing")
    hold(any(name.startswith("log/segments/") for name in haystacks), "no segments were read")
    with stage.arm.lock:
        own = next(iter(stage.arm.tokens)).encode()
    for planted in (own, own[-16:]):
        hold(held(stage, {"planted": b"a" + planted + b"b"}), "the search does not find what was planted")
    places = held(stage, haystacks)
    hold(not places, f"a credential stands in {places}")
    return f"{len(haystacks)} places, {sum(map(len, haystacks.values()))} bytes"


def channels():
    """Where an answer has room for a token: the name, and the answer for it."""
    for name in ("Authorization", "WWW-Authenticate", "x-ms-request-id", "x-ms-correlation-request-id",
                 "x-ms-routing-request-id", "x-ms-failure-cause", "ETag", "Last-Modified", "Retry-After", "Content-Type",
                 "x-ms-ratelimit-remaining-subscription-reads", "x-ms-ratelimit-remaining-planted", "Date", "Server", "Set-Cookie"):
        yield f"header {name}", lambda t, a, n=name: response(b"{}", headers=[(n, f"Bearer {t}")])
    # The gateway answers one value of a type; the first header of that name is the usual one.
    yield "the only Content-Type", lambda t, a: b"HTTP/1.1 200 OK\r\nContent-Type: text/" + t.encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
    yield "a header's name", lambda t, a: response(b"{}", headers=[(f"x-ms-ratelimit-remaining-{t}", "1")])
    for name in ("Location", "Azure-AsyncOperation", "Operation-Location"):
        yield f"{name}, foreign", lambda t, a, n=name: response(b"", "202 Accepted", [(n, f"https://evil.example/{t}")])
    yield "the status reason", lambda t, a: response(b"{}", f"200 {t}")
    yield "a malformed status line", lambda t, a: f"HTTP/1.1 {t} planted\r\n\r\n".encode()
    yield "a malformed header", lambda t, a: f"HTTP/1.1 200 OK\r\n{t}\0: 1\r\n\r\n".encode()
    yield "no HTTP", lambda t, a: t.encode() + b"\r\n\r\n"
    yield "the body", lambda t, a: response({"authorization": f"Bearer {t}"})
    yield "an error's message", lambda t, a: response(
        {"error": {"code": "InvalidAuthenticationToken", "message": f"the token {t} is not good"}}, "403 Forbidden")
    yield "an error's code", lambda t, a: response({"error": {"code": t, "message": ""}}, "409 Conflict")
    yield "a 401", lambda t, a: response({"error": {"code": t}}, "401 Unauthorized", [("x-ms-request-id", t)])
    yield "text", lambda t, a: response(f"you sent {t}", headers=[("X-Kind", "text")])
    yield "two chunks", lambda t, a: response(chunked(t[:20].encode(), t[20:].encode()), headers=[("Transfer-Encoding", "chunked")], length=False)
    yield "nextLink, foreign", lambda t, a: response({"value": [], "nextLink": f"https://evil.example/{t}"})
    yield "nextLink", lambda t, a: response({"value": [], "nextLink": f"{a.url}/subscriptions/{t}/resourceGroups?{API}"})
    yield "trailers", lambda t, a: response(chunked(b"{}", ending=f"0\r\nETag: {t}\r\nX-T: {t}\r\n\r\n".encode()),
                                            headers=[("Transfer-Encoding", "chunked")], length=False)
    yield "a chunk extension", lambda t, a: response(f"2;t={t}\r\n{{}}\r\n0\r\n\r\n".encode(), headers=[("Transfer-Encoding", "chunked")], length=False)
    yield "a malformed chunk", lambda t, a: response(f"{t}\r\n".encode(), headers=[("Transfer-Encoding", "chunked")], length=False)
    yield "gzip", lambda t, a: response(gzip.compress(t.encode()), headers=[("Content-Encoding", "gzip")])
    yield "a content coding", lambda t, a: response(b"{}", headers=[("Content-Encoding", t)])
    yield "a 1xx answer", lambda t, a: f"HTTP/1.1 103 {t}\r\nLink: {t}\r\n\r\n".encode() + response(b"{}")


def seen(exchange):
    return b"".join(repr(r.headers).encode() + r.body for r in exchange.replies)


def reflected(stage):
    """Answer and records of each are searched; the console and all the rest at the end."""
    def one(make, send):

        def play(line, asked):
            line.send(make(asked.token, stage.arm))
            line.close()

        exchange = send(stage.arm.vault(play))
        hold(len(exchange.replies) == 1, f"not one answer: {told(exchange)}")
        stage.outcome(exchange)
        leaked(stage, exchange)

    for name, make in channels():
        yield f"reflected: {name}, read", lambda make=make: one(make, stage.read)
        yield f"reflected: {name}, change", lambda make=make: one(make, stage.change)
    yield "reflected: the path of an operation", lambda: operation(stage)
    yield "reflected: the end of an operation", lambda: ended(stage)
    for part in ("location", "tags", "softDeleteFeatureState", "ETag"):
        yield f"reflected: a fact's {part}, to the gateway itself", lambda part=part: fact(stage, part)


def leaked(stage, *exchanges):
    """Whether answers, or the records of their decisions, hold a credential."""
    for exchange in exchanges:
        own = exchange.header("x-vaultgate-decision-id")
        until("the decision's records", lambda own=own: stage.log.read() and stage.log.about[own])
        found = held(stage, {"the answer": seen(exchange), "the log": json.dumps(stage.log.about[own]).encode()})
        hold(not found, f"a credential stands in {found}; {told(exchange)}")


def operation(stage):
    """The outcome's record holds the path that is polled."""
    def play(line, asked):
        target = f"{stage.arm.url}/subscriptions/{asked.token}/providers/a?api-version=2026-08-01"
        line.send(response(b"", "202 Accepted", [("Location", target)]))

    exchange = stage.change(stage.arm.vault(play))
    stage.outcome(exchange)
    leaked(stage, exchange)


def ended(stage):
    """A poll's answer is recorded when the operation has ended: job and error come from Azure."""
    def play(line, asked):
        if asked.method == "POST":
            return line.send(stage.arm.honest(asked))
        return line.send(response({"status": "Failed", "properties": {"jobId": asked.token},
                                   "error": {"code": asked.token}, "endTime": asked.token}))

    exchange = stage.change(stage.arm.vault(play))
    hold(exchange.status == 202, told(exchange))
    polled = stage.ask("GET", exchange.header("location").removeprefix(stage.world.url))
    stage.outcome(polled)
    own = exchange.header("x-vaultgate-decision-id")

    def over():
        return stage.log.read() and any("operation" in r and r["status"] is None for r in stage.log.about[own])

    until("the end of the operation on the record", over)
    leaked(stage, polled, exchange)


def fact(stage, part):
    """Facts stand in the record of the decision, whatever it was."""
    def play(line, asked):
        document = stage.arm.document(asked)
        headers = [("ETag", asked.token)] if part == "ETag" else []
        if part == "location" and "location" in document:
            document["location"] = asked.token
        elif part == "tags" and "tags" in document:
            document["tags"] = {"note": asked.token}
        elif part in document.get("properties", {}):
            document["properties"][part] = asked.token
        line.send(response(document, headers=headers))

    vault = stage.arm.vault(play)
    exchange = stage.ask("PUT", f"{vault}?{API}", body=encode({"location": "westeurope", "properties": {}}))
    hold(stage.arm.about(vault, operator=False), f"no facts were read: {told(exchange)}")
    leaked(stage, exchange)


# --- the login authority -------------------------------------------------------------------

def identity(stage):
    """A hostile answer to the gateway's sign-in: refused, and its secret sent nowhere else."""
    arm = stage.arm

    def error(text):
        return {"error": "invalid_client", "error_description": text, "trace_id": text, "correlation_id": text}

    answers = {
        "the secret in an error": lambda a: response(error(arm.form(a)["client_secret"]), "400 Bad Request"),
        "the secret in a 401": lambda a: response(error(a.body.decode()), "401 Unauthorized"),
        "the secret as an error code": lambda a: response({"error": arm.form(a)["client_secret"]}, "400 Bad Request"),
        "the secret as text": lambda a: response(a.body, "403 Forbidden"),
        "the secret in a 200": lambda a: response(error(arm.form(a)["client_secret"])),
        "the secret in headers": lambda a: response(b"{}", "400 Bad Request", [("x-ms-request-id", arm.form(a)["client_secret"]), ("x-ms-error-code", arm.form(a)["client_secret"])]),
        "the secret in members of another type": lambda a: response({"access_token": 5, "expires_in": arm.form(a)["client_secret"], "token_type": [arm.form(a)["client_secret"]]}),
        "a 302 to the lure": lambda a: response(b"", "302 Found", [("Location", f"{stage.lure.url}/planted")]),
        "a 307 to the lure": lambda a: response(b"", "307 Temporary Redirect", [("Location", f"{stage.lure.url}/planted")]),
        "a 308 to plain HTTP": lambda a: response(b"", "308 Permanent Redirect", [("Location", f"http://localhost:{stage.lure.port}/planted")]),
        "a token with a line end": lambda a: response(arm.granted(a, access_token="azcanary.operator.x\r\nX-Planted: 1")),
        "a token of 1 MiB and more": lambda a: response(arm.granted(a, access_token="a" * MAX_ANSWER)),
        "no JSON": lambda a: response(b"<html>planted</html>"), "empty": lambda a: response(b""),
        "gzip": lambda a: response(gzip.compress(encode(arm.granted(a))), headers=[("Content-Encoding", "gzip")]),
        "a list": lambda a: response([arm.granted(a)]),
        "deep nesting": lambda a: response(b"[" * 100_000 + b"]" * 100_000),
        "a time in the past": lambda a: response(arm.granted(a, expires_in=-1)),
        "a time beyond all": lambda a: response(arm.granted(a, expires_in=(1 << 63) - 1)),
        "a time that is no number": lambda a: response(arm.granted(a, expires_in="planted")),
    }
    # A token is one, whatever the authority says of its time.
    tolerated = ("a time in the past", "a time beyond all", "a time that is no number")

    def one(name, make):
        arm.authority = lambda line, asked: line.send(make(asked))
        try:
            vault = arm.vault()
            exchange = stage.read(vault)
        finally:
            arm.authority = None
        hold(exchange.replies, f"no answer within a minute: {told(exchange)}")
        stage.sound(exchange)
        stage.outcome(exchange)
        leaked(stage, exchange)
        if name not in tolerated:
            stage.refused(exchange)
            hold(not arm.about(vault), "a request arrived with a token that is none")
        hold(not stage.lure.hits, f"the lure was called: {stage.lure.hits[:2]}")
        stage.serves()

    # What the SDK takes for a broken connection it tries again, for longer than a slice may last.
    slow = ("a token of 1 MiB and more", "gzip", "no JSON", "a list")
    for name, make in answers.items():
        if name in slow and not stage.full:
            continue
        yield f"identity: {name}", lambda name=name, make=make: one(name, make)
