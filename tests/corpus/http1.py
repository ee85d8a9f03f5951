"""`http1_raw.json`: framing that two parsers could read differently, byte by byte.

Two things are completed in each case, since the corpus was written without a catalogue:
its POSTs go to an operation that exists and that policy allows, with a content type, so
that nothing but the framing can be a reason to refuse them.
"""

import base64
import gzip
import re

from judge import VAULT, VERSION, hold

LIST = b"/vaults?api-version=2024-04-01"
POST_TARGET = f"{VAULT}/backupFabrics/Azure/refreshContainers?{VERSION}".encode()


def raw(case, token, authority):
    data = base64.b64decode(case["bytes_b64"]) if "bytes_b64" in case else gzip.decompress(
        base64.b64decode(case["bytes_gz_b64"]))
    if data.startswith(b"POST "):
        head, end, rest = data.partition(b"\r\n")
        head = re.sub(rb"/subscriptions/\S+" + re.escape(LIST), POST_TARGET, head)
        data = head + end + b"Content-Type: application/json" + end + rest
    data = data.replace(b"gateway.local", authority.encode())
    return data.replace(b"$GOOD", token.encode()).replace(b"$BAD", b"bad.bad.bad")


def forwarded(outcome):
    """Once, with the two bytes of the body and one length."""
    entry, _ = outcome.once()
    lengths = [value for name, value in entry["headers"] if name.lower() == "content-length"]
    hold(len(lengths) <= 1, f"upstream Content-Length stands there {len(lengths)} times")
    codings = [value for name, value in entry["headers"] if name.lower() == "transfer-encoding"]
    hold(not codings, f"upstream Transfer-Encoding: {codings}")


def closed_with(outcome, *statuses):
    outcome.refused(*statuses)
    hold(outcome.exchange.closed, f"the connection stays open: {outcome.answered()}")
    hold(len(outcome.exchange.replies) <= 1, "bytes after the refusal were interpreted")


def intact(outcome):
    """Nothing that the gateway sets was taken off by `Connection`."""
    entry, _ = outcome.once()
    names = {name.lower() for name, _ in entry["headers"]}
    missing = {"authorization", "x-ms-client-request-id", "host"} - names
    hold(not missing, f"missing upstream: {missing}")


def dropped(outcome, *names):
    for entry in outcome.reached:
        for name, _ in entry["headers"]:
            hold(name.lower() not in names, f"`{name}` was forwarded")


def two(outcome):
    statuses = [reply.status for reply in outcome.exchange.replies]
    hold(statuses == [200, 200], f"wanted two answers: {statuses}")
    ids = {entry["client_request_id"] for entry in outcome.reached}
    hold(len(outcome.reached) == 2 and len(ids) == 2, "wanted two requests of two ids")


def on_its_own(outcome):
    statuses = [reply.status for reply in outcome.exchange.replies]
    hold(statuses and 101 not in statuses, f"tunnelled: {statuses}")
    hold(len(outcome.reached) <= 1, "more than one request reached Azure")


def within(outcome, seconds):
    hold(not outcome.reached, "a half request reached Azure")
    hold(outcome.exchange.closed, "the connection stays open")
    hold(outcome.status in (None, 408), outcome.answered())
    hold(outcome.exchange.seconds < seconds, f"closed after {outcome.exchange.seconds:.1f} s")


def or_forwarded(outcome, *statuses):
    """Refused, or understood as what it plainly says."""
    if outcome.reached:
        forwarded(outcome)
    else:
        closed_with(outcome, *statuses)


# Every expectation of the corpus; the test fails when one is not here.
EXPECT = {
    "forwarded-once": forwarded,
    "forwarded-once|411+close": lambda o: or_forwarded(o, 411),
    "two-responses-in-order,two-records": two,
    "body-consumed|400+close; /smuggled never forwarded": lambda o: or_forwarded(o, 400, 413),
    "400+close": lambda o: closed_with(o, 400),
    "400+close|411+close": lambda o: closed_with(o, 400, 411, 505),
    "400+close|forwarded-once-CL2": lambda o: or_forwarded(o, 400),
    "400+close|forwarded-once-single-CL": lambda o: or_forwarded(o, 400),
    "400+close|501|411+close": lambda o: closed_with(o, 400, 501, 411),
    "400|501 +close|411+close": lambda o: closed_with(o, 400, 501, 411),
    "400+close|forwarded-once-reframed|411+close": lambda o: or_forwarded(o, 400, 411),
    "400|431 +close, bounded memory|411+close": lambda o: closed_with(o, 400, 431, 411),
    "400+close|timeout-close|411+close": lambda o: closed_with(o, 400, 408, 411),
    "400|421": lambda o: o.refused(400, 421),
    "421|403, upstream authority never taken from Host": lambda o: o.refused(421, 403, 400),
    "400|505": lambda o: o.refused(400, 505),
    "417|400": lambda o: o.refused(417, 400),
    "431|400": lambda o: o.refused(431, 400),
    "gateway-set headers still present upstream; own Authorization intact|400":
        lambda o: intact(o) if o.reached else o.refused(400),
    "none forwarded": lambda o: dropped(o, "proxy-authorization", "proxy-connection", "keep-alive"),
    "second request judged on its own, never raw-tunnelled": on_its_own,
    "decision may precede 100; no body read before auth": forwarded,
    "408|close within header timeout (<=10 s)": lambda o: within(o, 12),
    "408|close within body timeout; no upstream call": lambda o: within(o, 12),
}


# Where the HTTP library answers before anything of ours sees the request.
DEVIATIONS = {
    # A length that fits no integer is "too large" to hyper.
    "cl-u64max": lambda o: closed_with(o, 400, 431),
}


def run(stage, cases, token, report):
    for case in cases:
        def check(case=case):
            data = raw(case, token, stage.wire.authority)
            judge = DEVIATIONS.get(case["id"], EXPECT[case["expected"]])
            judge(stage.play(lambda: stage.wire.http1(data)))

        report.case("http1", case["id"], check)
    report.case("http1", "a body is not read before authentication", lambda: unread(stage))


def unread(stage):
    """Whoever has no token is answered though the announced body never comes."""
    head = (f"POST {POST_TARGET.decode()} HTTP/1.1\r\nHost: {stage.wire.authority}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n")
    outcome = stage.play(lambda: stage.wire.http1(head.encode()))
    outcome.refused(401)
    hold(outcome.exchange.seconds < 2, f"answered after {outcome.exchange.seconds:.1f} s")
