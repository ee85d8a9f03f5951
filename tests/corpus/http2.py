"""`h2_raw.json`: HTTP/2 frames, rebuilt so that a valid token stands in them."""

import base64
import gzip

import hpack

import paths
from judge import hold
from wire import HEADERS, PREFACE, frame, literal

MEBIBYTE = 1 << 20


def frames(case, token, authority):
    """The case's bytes with its header blocks written anew."""
    data = base64.b64decode(case["bytes_b64"]) if "bytes_b64" in case else gzip.decompress(
        base64.b64decode(case["bytes_gz_b64"]))
    hold(data.startswith(PREFACE), "no preface")
    out, at, block = PREFACE, len(PREFACE), {}
    while at + 9 <= len(data):
        size = int.from_bytes(data[at:at + 3], "big")
        kind, flags = data[at + 3], data[at + 4]
        stream = int.from_bytes(data[at + 5:at + 9], "big")
        payload = data[at + 9:at + 9 + size]
        if kind == HEADERS:
            if payload not in block:
                block[payload] = rebuilt(payload, token, authority)
            payload = block[payload]
        out += frame(kind, flags, stream, payload)
        at += 9 + size
    return out


def rebuilt(payload, token, authority):
    fields = []
    for name, value, *_ in hpack.Decoder().decode(payload, raw=True):
        name, value = name.decode("latin-1"), value.decode("latin-1")
        value = value.replace("$GOOD", token).replace("$BAD", "bad.bad.bad")
        fields.append((name, value.replace("gateway.local", authority)))
    return literal(fields)


def joined_or_dropped(outcome):
    hold(len(outcome.reached) <= 1, outcome.answered())
    for entry in outcome.reached:
        cookies = [value for name, value in entry["headers"] if name.lower() == "cookie"]
        hold(len(cookies) <= 1, "two cookie lines went upstream")


def ended(outcome):
    found = outcome.exchange
    hold(found.closed or found.goaway is not None, f"the connection goes on: {outcome.answered()}")


EXPECT = {
    "forwarded-once": lambda o: (o.once(), hold(o.status == 200, o.answered())),
    "stream PROTOCOL_ERROR or 400; no upstream": lambda o: o.refused(400),
    "stream PROTOCOL_ERROR or 400; no upstream|405": lambda o: o.refused(400, 405),
    "joined or dropped": joined_or_dropped,
    "connection closed (GOAWAY ENHANCE_YOUR_CALM), CPU bounded, upstream calls <= decision records":
        ended,
    "bounded memory": lambda o: None,
    "bounded": lambda o: None,
}


def run(stage, cases, token, report):
    for case in cases:
        def check(case=case):
            data = frames(case, token, stage.wire.authority)
            before = stage.memory()
            flood = len(data) > 50_000
            patience = 3.0 if flood else 8.0
            outcome = stage.play(lambda: stage.wire.http2(data, patience))
            judge = paths.cut if case["id"] == "path-fragment" else EXPECT[case["expected"]]
            judge(outcome)
            if flood:
                stage.alive(token)
                grown = stage.memory() - before
                hold(grown < 64 * MEBIBYTE, f"grew by {grown // MEBIBYTE} MiB")

        report.case("http2", case["id"], check)
