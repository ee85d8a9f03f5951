"""Clients that hold connections by doing nearly nothing: crowds of one habit each.

A habit says what a connection sends at once, what it drips afterwards and whether it reads.
The crowd reports for each connection how long the gateway put up with it.
"""

import selectors
import ssl
import time
from dataclasses import dataclass

from frames import END_HEADERS, HELLO, PING, request
from pump import authority, context, dial
from wire import ACK, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame
from world import API, VAULT, item

# A pause between drips that is shorter than any limit on silence.
DRIP = 0.2
# What the harness lets Azure answer with much.
LARGE = f"{VAULT}/backupJobs?{API}"
PIPELINED = 20
# The gateway allows 128 streams.
STREAMS = 120
NO_WINDOW = PREFACE + frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0")


@dataclass
class Habit:
    """How the connections of a crowd behave."""

    tls: bool = True
    protocol: str = "http/1.1"
    # Given the job: what is sent at once.
    opening: object = lambda job: b""
    # Given the job: what is dripped afterwards, one byte at a time, over and over.
    drip: object = lambda job: b""
    reads: bool = True
    # Answers the gateway's PINGs, as a client that is alive does.
    pongs: bool = False


def head(job, method, path, *more, known=True):
    """A request head of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority(job['url'])}", *more]
    if known:
        lines.append(f"Authorization: Bearer {job['token']}")
    return ("\r\n".join(lines) + "\r\n").encode()


def backup(job, known=True):
    """A change whose body is announced and does not come."""
    fields = ["Content-Type: application/json", "Content-Length: 9000"]
    return head(job, "POST", f"{item('vm1')}/backup?{API}", *fields, known=known) + b"\r\n"


def listings(job):
    """Requests for a large body, one after the other: more than the buffers of a socket hold."""
    return (head(job, "GET", LARGE) + b"\r\n") * PIPELINED


def unread_stream(job):
    """The same over HTTP/2, by a client that grants no window."""
    return unread_streams(job, 1)


def unread_streams(job, count=STREAMS):
    block = request(authority(job["url"]), path=LARGE, token=job["token"])
    asked = [frame(HEADERS, END_HEADERS | END_STREAM, own, block) for own in range(1, 2 * count, 2)]
    return NO_WINDOW + b"".join(asked)


def open_header(job):
    """HTTP/2: a header block that is begun and dripped."""
    block = request(authority(job["url"]))
    return HELLO + frame(HEADERS, END_HEADERS | END_STREAM, 1, block)[:12]


HABITS = {
    "silent-tcp": Habit(tls=False),
    # The record header of a ClientHello of 16 KiB, then a byte now and then.
    "hello-dripped": Habit(tls=False, opening=lambda job: b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03",
                           drip=lambda job: b"\0"),
    "silent-tls": Habit(),
    "silent-tls-h2": Habit(protocol="h2"),
    "slowloris": Habit(opening=lambda job: head(job, "GET", "/", known=False),
                       drip=lambda job: b"X-More: more\r\n"),
    "first-byte-only": Habit(opening=lambda job: b"P"),
    "preface-unfinished": Habit(protocol="h2", opening=lambda job: HELLO[:20]),
    "keep-alive-silent": Habit(opening=lambda job: head(job, "GET", "/", known=False) + b"\r\n"),
    "body-announced": Habit(opening=backup),
    "body-announced-stranger": Habit(opening=lambda job: backup(job, known=False)),
    "headers-unfinished-h2": Habit(protocol="h2", opening=open_header, pongs=True),
    "mute-h2": Habit(protocol="h2", opening=lambda job: HELLO),
    "answer-unread": Habit(opening=listings, reads=False),
    "answer-unread-h2": Habit(protocol="h2", opening=unread_stream, pongs=True),
    "answers-unread-h2": Habit(protocol="h2", opening=unread_streams, pongs=True),
}


class Held:
    """One connection of a crowd."""

    def __init__(self, job, habit, trusting):
        self.habit, self.job = habit, job
        self.began = time.monotonic()
        self.drips, self.received, self.lasted = habit.drip(job), bytearray(), None
        plain = dial(job["url"], job["source"])
        self.socket = trusting.wrap_socket(plain, server_hostname="localhost") if habit.tls else plain
        self.socket.sendall(habit.opening(job))
        self.socket.setblocking(False)
        self.due, self.at = time.monotonic() + DRIP, 0

    def step(self):
        """Drips one byte when it is due; false when the connection is gone."""
        if not self.drips or time.monotonic() < self.due:
            return True
        self.due += DRIP
        try:
            self.socket.send(self.drips[self.at:self.at + 1])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        self.at = (self.at + 1) % len(self.drips)
        return True

    def read(self):
        try:
            while True:
                some = self.socket.recv(65_536)
                if not some:
                    return False
                self.received += some
                if self.habit.pongs:
                    self.pong()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False

    def pong(self):
        """Answers every PING that came whole; an error when the gateway gave up a stream."""
        while len(self.received) >= 9:
            size = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + size:
                return
            if self.received[3] in (RST_STREAM, GOAWAY):
                raise ConnectionError("given up")
            kind, flags = self.received[3], self.received[4]
            payload = bytes(self.received[9:9 + size])
            del self.received[:9 + size]
            if kind == PING and not flags & ACK:
                self.socket.send(frame(PING, ACK, 0, payload))

    def unread(self):
        """Whether everything was still kept for a client that did not read until now."""
        self.socket.setblocking(True)
        self.socket.settimeout(5)
        whole = 0
        try:
            while whole < PIPELINED and (some := self.socket.recv(1 << 20)):
                whole += some.count(b"HTTP/1.1 200")
        except OSError:
            pass
        return whole == PIPELINED

    def end(self):
        self.lasted = time.monotonic() - self.began
        self.socket.close()


def hold(job, habit):
    """Keeps a crowd until the gateway has ended all of it, or `seconds` are over."""
    trusting = context(job["ca"], habit.protocol)
    crowd = [Held(job, habit, trusting) for _ in range(job["connections"])]
    end = time.monotonic() + job["seconds"]
    with selectors.DefaultSelector() as chooser:
        for held in crowd:
            if habit.reads:
                chooser.register(held.socket, selectors.EVENT_READ, held)
        there = set(crowd)
        while there and time.monotonic() < end:
            gone = {key.data for key, _ in chooser.select(DRIP / 4) if not key.data.read()}
            gone |= {held for held in there - gone if not held.step()}
            for held in gone:
                if habit.reads:
                    chooser.unregister(held.socket)
                held.end()
            there -= gone
    for held in there:
        if habit.reads or held.unread():
            held.socket.close()
        else:
            held.end()
    ended = [held.lasted for held in crowd if held.lasted is not None]
    first = bytes(crowd[0].received[:60]).decode("latin-1") if habit.protocol != "h2" else ""
    return {"opened": len(crowd), "closed": len(ended), "longest": max(ended, default=None),
            "left": len(crowd) - len(ended), "said": first.splitlines()[:1]}
