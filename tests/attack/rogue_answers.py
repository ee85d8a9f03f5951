"""Answers that split, smuggle, lead away, carry too much, or set what only a gateway may set.

Each expectation is `whole` (Azure's answer came through, all of it), `refused` (the gateway
said 502), or `either`: HTTP leaves it open, and whatever comes must still be sound.
"""

import gzip
import json

from rogue_arm import chunked, encode, response
from meter import Meter
from rogue_stage import MAX_ANSWER, TIMEOUT, hold, reason, told

PLANT = "Set-Cookie: planted=1"
SMUGGLED = response({"name": "planted"}, headers=[("x-ms-request-id", "planted")])
# What one answer may cost at most while it is refused: its bound, copies of it, and slack.
GROWTH = 48
RESERVED = [
    ("Set-Cookie", "planted=1"), ("Set-Cookie2", "planted=1"), ("Alt-Svc", 'h3="planted:443"'),
    ("Strict-Transport-Security", "max-age=0; planted"), ("Keep-Alive", "planted"),
    ("Proxy-Authenticate", "Basic planted"), ("Proxy-Connection", "planted"),
    ("Proxy-Authentication-Info", "planted"), ("Server", "planted"), ("Via", "1.1 planted"),
    ("Access-Control-Allow-Origin", "https://planted"), ("Access-Control-Allow-Credentials", "planted"),
    ("Clear-Site-Data", '"planted"'), ("WWW-Authenticate", 'Bearer realm="planted"'),
    ("Content-Security-Policy", "planted"), ("Refresh", "0; url=https://planted/"),
    ("Link", "<https://planted/>; rel=next"), ("Content-Location", "https://planted/"),
    ("X-Accel-Redirect", "/planted"), ("X-Sendfile", "/planted"), ("Age", "planted"),
    ("Public-Key-Pins", "planted"), ("NEL", "planted"), ("Report-To", "planted"),
    ("X-Vaultgate-Decision", "planted"), ("X-Vaultgate-Decision-Id", "planted"),
    ("X-Vaultgate-Receipt", "planted:1:planted"), ("Authorization", "Bearer planted"),
    ("Content-Disposition", "attachment; filename=planted"), ("Service-Worker-Allowed", "/planted"),
    ("X-Ms-Keyvault-Planted", "planted"), ("Trailer", "planted"), ("Date-Planted", "planted"),
]


def head(*lines):
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)


def answers():
    """Name, expectation, and the answer for an honest body."""
    def with_line(line):
        return lambda body: head("HTTP/1.1 200 OK", line, f"Content-Length: {len(body)}", "", "") + body

    def with_status(line):
        return lambda body: head(line, f"Content-Length: {len(body)}", "", "") + body

    def of_lines(*lines):
        return lambda body: head("HTTP/1.1 200 OK", *lines, "", "") + body

    def in_chunks(*pieces, lines=("Transfer-Encoding: chunked",)):
        return lambda body: head("HTTP/1.1 200 OK", *lines, "", "") + b"".join(
            piece(body) if callable(piece) else piece for piece in pieces)

    def plain(body):
        return chunked(body)

    def size(body):
        return b"%x" % len(body)

    def itself(body):
        return body

    lines = {
        "LF in a value": (f"ETag: a\n{PLANT}", "either"), "CR in a value": (f"ETag: a\r{PLANT}", "refused"),
        "NUL in a value": ("ETag: a\0planted", "refused"), "DEL in a value": ("ETag: a\x7fplanted", "either"),
        "a control in a value": ("ETag: a\x01planted", "refused"),
        "8-bit value": (b"ETag: \xff\xfeplanted", "either"), "UTF-8 value": ("ETag: plantéd", "either"),
        "a folded line": (f"ETag: a\r\n {PLANT}", "either"), "a folded line, tab": (f"ETag: a\r\n\t{PLANT}", "either"),
        "a folded first line": (f" {PLANT}", "either"), "encoded CRLF": (f"X-Planted: %0d%0a{PLANT}", "whole"),
        "a name with a space": ("Set Cookie: planted", "either"), "a space before the colon": ("Set-Cookie : planted", "either"),
        "an empty name": (": planted", "either"), "no colon": ("planted", "either"),
        "NUL in a name": ("X-\0planted: 1", "either"), "an 8-bit name": (b"X-\xe9planted: 1", "either"),
        "a LF in a name": ("X-\nplanted: 1", "either"), "brackets in a name": ("(planted): 1", "either"),
        "a listed header twice": ("ETag: a\r\nETag: planted", "whole"),
    }
    for name, (line, expected) in lines.items():
        yield f"header: {name}", expected, with_line(line)
    lengths = {
        "two that differ": (lambda n: [f"Content-Length: {n}", f"Content-Length: {n - 5}"], "refused"),
        "two that differ, longer": (lambda n: [f"Content-Length: {n}", f"Content-Length: {n + 5}"], "refused"),
        "two that agree": (lambda n: [f"Content-Length: {n}"] * 2, "either"),
        "a list that differs": (lambda n: [f"Content-Length: {n}, {n - 5}"], "refused"),
        "negative": (lambda n: [f"Content-Length: -{n}"], "refused"), "signed": (lambda n: [f"Content-Length: +{n}"], "refused"),
        "hexadecimal": (lambda n: [f"Content-Length: 0x{n:x}"], "refused"), "empty": (lambda n: ["Content-Length:"], "refused"),
        "beyond 64 bits": (lambda n: [f"Content-Length: {(1 << 64) + n}"], "refused"),
        "of 2^64-1": (lambda n: [f"Content-Length: {(1 << 64) - 1}"], "refused"),
        "with a fraction": (lambda n: [f"Content-Length: {n}.0"], "refused"), "a word": (lambda n: ["Content-Length: planted"], "refused"),
    }
    for name, (given, expected) in lengths.items():
        yield f"length: {name}", expected, lambda body, given=given: of_lines(*given(len(body)))(body)
    # A coding that does not end with `chunked` leaves the body to the connection's end.
    encodings = {
        "chunked and a length, shorter": (["Content-Length: 5", "Transfer-Encoding: chunked"], plain, "either"),
        "a length and chunked, longer": (["Transfer-Encoding: chunked", "Content-Length: 99999"], plain, "either"),
        "chunked twice": (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], plain, "either"),
        "identity last": (["Transfer-Encoding: chunked, identity"], plain, "sound"),
        "an unknown coding": (["Transfer-Encoding: other"], plain, "sound"),
        "gzip before chunked": (["Transfer-Encoding: gzip, chunked"], plain, "either"),
        "a space before the colon": (["Transfer-Encoding : chunked", "Content-Length: 5"], plain, "either"),
        "a vertical tab": (["Transfer-Encoding: \x0bchunked", "Content-Length: 5"], plain, "either"),
    }
    for name, (given, body_of, expected) in encodings.items():
        yield f"coding: {name}", expected, in_chunks(body_of, lines=given)
    end = b"\r\n0\r\n\r\n"
    chunks = {
        "an extension": ((size, b";a=planted\r\n", itself, end), "either"),
        "extension of garbage": ((size, b";\"planted\x01\xff\r\n", itself, end), "either"),
        "extension with LF": ((size, b";a=\nplanted\r\n", itself, end), "refused"),
        "extension of 1 MiB": ((size, b";", b"a" * MAX_ANSWER, b"\r\n", itself, end), "refused"),
        "size with 0x": ((b"0x", size, b"\r\n", itself, end), "refused"),
        "negative size": ((b"-", size, b"\r\n", itself, end), "refused"),
        "size beyond 64 bits": ((b"1", b"0" * 16, size, b"\r\n", itself, end), "refused"),
        "size with many zeros": ((b"0" * 400, size, b"\r\n", itself, end), "either"),
        "empty size": ((b"\r\n", itself, end), "refused"),
        "no end of a chunk": ((size, b"\r\n", itself, b"0\r\n\r\n"), "refused"),
        "bare LF": ((size, b"\n", itself, b"\n0\n\n"), "either"),
        "size too small": ((b"5\r\n", itself, end), "refused"),
        "trailers": ((size, b"\r\n", itself, f"\r\n0\r\n{PLANT}\r\nContent-Length: 5\r\nLocation: https://planted/"
                      "\r\nAuthorization: planted\r\nETag: planted\r\n\r\n".encode()), "either"),
        "a trailer of 1 MiB": ((size, b"\r\n", itself, b"\r\n0\r\nX: ", b"a" * MAX_ANSWER, b"\r\n\r\n"), "refused"),
        "100,000 trailers": ((size, b"\r\n", itself, b"\r\n0\r\n", b"X: planted\r\n" * 100_000, b"\r\n"), "refused"),
    }
    for name, (pieces, expected) in chunks.items():
        yield f"chunk: {name}", expected, in_chunks(*pieces)
    statuses = {
        "HTTP/0.9": (lambda body: body, "refused"), "HTTP/1.0": (with_status("HTTP/1.0 200 OK"), "either"),
        "two digits": (with_status("HTTP/1.1 99 planted"), "refused"), "four digits": (with_status("HTTP/1.1 1000 planted"), "refused"),
        "no digits": (with_status("HTTP/1.1 abc planted"), "refused"), "000": (with_status("HTTP/1.1 000 planted"), "refused"),
        "099": (with_status("HTTP/1.1 099 planted"), "refused"), "negative": (with_status("HTTP/1.1 -20 planted"), "refused"),
        "version 2.0": (with_status("HTTP/2.0 200 planted"), "refused"), "version 3.7": (with_status("HTTP/3.7 200 planted"), "refused"),
        "ICY": (with_status("ICY 200 OK"), "refused"), "lower case": (with_status("http/1.1 200 OK"), "refused"),
        "two spaces": (with_status("HTTP/1.1  200 planted"), "refused"), "no reason": (with_status("HTTP/1.1 200"), "either"),
        "CR in the reason": (with_status(f"HTTP/1.1 200 a\r{PLANT}"), "refused"), "NUL in the reason": (with_status("HTTP/1.1 200 \0planted"), "refused"),
        "LF in the reason": (with_status(f"HTTP/1.1 200 a\n{PLANT}"), "either"), "empty lines before": (with_status("\r\n" * 3 + "HTTP/1.1 200 OK"), "either"),
        "a space before": (with_status(" HTTP/1.1 200 OK"), "refused"), "reason of 1 MiB": (with_status("HTTP/1.1 200 " + "a" * MAX_ANSWER), "refused"),
        "TLS inside TLS": (lambda body: b"\x16\x03\x01\x02\x00" + body, "refused"), "HTTP/2": (lambda body: b"\0\0\x12\x04\0\0\0\0\0" + body, "refused"),
        "101": (lambda body: head("HTTP/1.1 101 Switching Protocols", "Upgrade: planted", "Connection: upgrade", "", "") + body, "refused"),
    }
    for name, (make, expected) in statuses.items():
        yield f"status: {name}", expected, make
    for status in (204, 205, 304, 306, 407, 418, 426, 600, 999):
        yield f"status: {status} with a body", "sound", with_status(f"HTTP/1.1 {status} planted")


def splitting(stage):
    """Cases of answers that two readers could read differently."""
    def one(expected, make):
        def play(line, asked):
            if line.send(make(encode(stage.arm.document(asked)))):
                line.close()

        vault, exchange = stage.attacked(play)
        if expected == "refused":
            stage.refused(exchange)
        elif expected == "whole" or (expected == "either" and exchange.status == 200):
            stage.passed(exchange, vault)
        elif expected == "either":
            stage.refused(exchange)
        stage.serves()
        outcome = stage.outcome(exchange)
        # What was read and could not be understood did succeed, at Azure.
        read = 200 <= exchange.status < 300 or reason(exchange.replies[0]) == "upstream-malformed"
        hold((outcome["outcome"] == "succeeded") == read,
             f"recorded as {outcome}: {told(exchange)}")
        return f"{exchange.status}"

    for name, expected, make in answers():
        yield name, lambda expected=expected, make=make: one(expected, make)
    for code in (100, 102, 103, 199):
        yield f"1xx: endless {code}", lambda code=code: flood(stage, code)
    for which, send in (("a change", stage.change), ("over HTTP/2", lambda v, **h: stage.read(v, http2=True))):
        yield f"status: 101 to {which}", lambda send=send: upgrade(stage, send)


def flood(stage, code):
    """Answers that announce an answer, for as long as somebody listens: ended by the timeout."""
    one = head(f"HTTP/1.1 {code} planted", PLANT, "Location: https://planted/", "", "") * 50

    def play(line, _):
        while line.send(one):
            pass

    _, exchange = stage.attacked(play)
    stage.refused(exchange)
    stage.serves()


def upgrade(stage, send):
    """A switch of protocols that nobody asked for is no answer."""
    def play(line, asked):
        line.send(head("HTTP/1.1 101 Switching Protocols", "Upgrade: h2c", "Connection: Upgrade", "", "") + SMUGGLED)
        line.gone(TIMEOUT * 4)

    _, exchange = stage.attacked(play, send)
    stage.refused(exchange)
    stage.serves()


def smuggling(stage):
    """A second answer behind the first is answered to nobody: one case after another, so that
    the next caller's request would find that very connection in the pool."""
    def behind(ways):
        used = []

        def play(line, asked):
            used.append(line.number)
            honest = stage.arm.honest(asked)
            if ways == "one record":
                line.send(honest + SMUGGLED)
            elif ways == "a second record":
                line.send(honest)
                line.send(SMUGGLED)
            elif ways == "half an answer":
                line.send(honest + SMUGGLED[:40])
            elif ways == "chunked":
                body = encode(stage.arm.document(asked))
                line.send(head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "") + chunked(body) + SMUGGLED)
            elif ways == "behind 204":
                line.send(head("HTTP/1.1 204 No Content", "", "") + SMUGGLED)
            elif ways == "behind 304":
                line.send(head("HTTP/1.1 304 Not Modified", "Content-Length: 5", "", "") + SMUGGLED)
            elif ways == "a thousand":
                line.send(honest + SMUGGLED * 1000)
            # The gateway must not keep a connection that said more than it was asked.
            hold(line.gone(TIMEOUT * 4), "the connection was kept")
            used.append("ended")

        vault, exchange = stage.attacked(play)
        if "behind" not in ways:
            stage.passed(exchange, vault)
        for who in ("reader", "operator", "reader"):
            stage.serves(who)
        hold(used[-1] == "ended", "the connection was kept, with an answer that nobody asked for")

    for ways in ("one record", "a second record", "half an answer", "chunked", "behind 204", "behind 304", "a thousand"):
        yield f"smuggled: {ways}", lambda ways=ways: behind(ways)


def redirects(stage):
    """Nobody is sent elsewhere, and the gateway goes nowhere by itself."""
    def one(status, target, send):
        _, exchange = stage.attacked(
            lambda line, asked: line.send(response(b"{}", f"{status} planted", [("Location", target(asked))])), send)
        hold(exchange.status == status, f"not passed on as it is: {told(exchange)}")
        hold(not stage.lure.hits, f"somebody followed: {stage.lure.hits[:3]}")

    lure = stage.lure.url.removeprefix("https:")
    targets = {
        "another host": lambda a: f"https:{lure}/planted", "the same host": lambda a: f"{stage.arm.url}{a.target}",
        "http": lambda a: f"http:{lure}/planted", "file": lambda a: "file:///etc/passwd?planted",
        "no scheme": lambda a: f"{lure}/planted", "itself, relative": lambda a: "/planted",
        "the metadata service": lambda a: "http://169.254.169.254/planted",
    }
    for status in (300, 301, 302, 303, 305, 307, 308):
        for name, target in targets.items():
            for kind, send in (("read", stage.read), ("change", stage.change)):
                yield (f"redirect: {status} to {name}, {kind}",
                       lambda status=status, target=target, send=send: one(status, target, send))


def reserved(stage):
    """Headers that are not Azure's to set for the gateway's callers."""
    def one(pairs, send):
        _, exchange = stage.attacked(lambda line, asked: line.send(response(b"{}", headers=pairs)), send)
        hold(exchange.status == 200, f"not answered: {told(exchange)}")

    for pair in RESERVED:
        yield f"reserved: {pair[0]}", lambda pair=pair: one([pair], stage.read)
    yield "reserved: all, to a change", lambda: one(RESERVED, stage.change)
    yield "reserved: all, over HTTP/2", lambda: one(RESERVED, lambda v, **h: stage.read(v, http2=True))
    yield "reserved: Connection names listed ones", lambda: one([("Connection", "etag, x-planted"), ("X-Planted", "1")], stage.read)


def oversized(stage):
    """More than is read: refused, on the record, and not kept in memory. One by one."""
    def endless(line, piece, opening):
        line.send(opening)
        while line.send(piece):
            pass

    bomb = gzip.compress(b"\0" * (64 << 20))
    honest = {"value": []}
    chunk = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)
    start = head("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", "")
    plays = {
        "a length beyond the bound": lambda line, a: line.send(response(b" " * (MAX_ANSWER + 1))),
        "a length of 1 TiB": lambda line, a: endless(line, b" " * 65_536, head("HTTP/1.1 200 OK", f"Content-Length: {1 << 40}", "", "")),
        "chunks without end": lambda line, a: endless(line, chunk, start),
        "chunks of one byte without end": lambda line, a: endless(line, b"1\r\n \r\n" * 5_000, start),
        "a body without end": lambda line, a: endless(line, b" " * 65_536, head("HTTP/1.1 200 OK", "Connection: close", "", "")),
        "a gzip bomb": lambda line, a: line.send(response(bomb, headers=[("Content-Encoding", "gzip")])),
        "gzip of what is honest": lambda line, a: line.send(response(gzip.compress(encode(honest)), headers=[("Content-Encoding", "gzip")])),
        "an unknown coding": lambda line, a: line.send(response(honest, headers=[("Content-Encoding", "planted")])),
        "two codings": lambda line, a: line.send(response(honest, headers=[("Content-Encoding", "identity"), ("Content-Encoding", "br")])),
        "100,000 headers": lambda line, a: line.send(response(honest, headers=[("X-Planted", "1")] * 100_000)),
        "a header of 1 MiB": lambda line, a: line.send(response(honest, headers=[("ETag", "a" * MAX_ANSWER)])),
        "headers without end": lambda line, a: endless(line, b"X-Planted: 1\r\n" * 1_000, b"HTTP/1.1 200 OK\r\n"),
        "a header without end": lambda line, a: endless(line, b"a" * 65_536, b"HTTP/1.1 200 OK\r\nETag: "),
    }

    def one(play, send):
        with Meter(stage.world.gateway.pid) as meter:
            _, exchange = stage.attacked(play, send)
        stage.refused(exchange)
        hold(meter.grown <= GROWTH, f"memory grew by {meter.grown:.0f} MiB")
        outcome = stage.outcome(exchange)["outcome"]
        wanted = "failed" if send == stage.read else "unknown"
        hold(outcome == wanted, f"recorded as {outcome}")
        stage.serves()
        return f"+{meter.grown:.1f} MiB"

    for name, play in plays.items():
        # A read is tried three times, which the slice has no time for.
        for kind, send in (("change", stage.change), ("read", stage.read))[:2 if stage.full else 1]:
            yield f"oversized: {name}, {kind}", lambda play=play, send=send: one(play, send)

    def at_bound():
        body = encode({"value": []}).ljust(MAX_ANSWER)
        _, exchange = stage.attacked(lambda line, asked: line.send(response(body)))
        hold(exchange.replies[0].body == body, f"the largest answer did not pass: {exchange.status}")

    def listed_header():
        _, exchange = stage.attacked(lambda line, asked: line.send(response(honest, headers=[("ETag", "planted" + "a" * 9_000)])))
        hold(exchange.status == 200 and json.loads(exchange.replies[0].body) == honest, told(exchange))

    yield "oversized: exactly the bound is whole", at_bound
    yield "oversized: a listed header of 9 KB does not pass", listed_header
