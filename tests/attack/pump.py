"""Sends a flood over a few connections at once, as fast as the gateway takes it.

One loop over non-blocking sockets: a client that waits for the server to read would be no
flood, and one that never reads may be held up by its own full buffers; both are offered.
"""

import selectors
import socket
import ssl
import time
import urllib.parse

from wire import GOAWAY, HEADERS, RST_STREAM


def dial(url, source, timeout=20):
    """A TCP connection from this loopback address."""
    parts = urllib.parse.urlsplit(url)
    plain = socket.create_connection(("127.0.0.1", parts.port), timeout, (source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


def authority(url):
    return urllib.parse.urlsplit(url).netloc


def context(ca, *protocols):
    trusting = ssl.create_default_context(cafile=ca)
    if protocols:
        trusting.set_alpn_protocols(list(protocols))
    return trusting


class Tally:
    """What the gateway did on all connections of a flood."""

    def __init__(self):
        self.opened = self.closed = self.units = self.sent = self.resets = self.answers = 0
        self.goaway = {}

    def told(self):
        return dict(vars(self))


class Lane:
    """One connection of a flood."""

    def __init__(self, job, flood, trusting, tally):
        self.tally, self.reads = tally, flood.reads
        self.stream = flood.stream(authority(job["url"]), job["token"])
        self.waiting, self.units = memoryview(b""), 0
        self.received = bytearray()
        self.socket = trusting.wrap_socket(dial(job["url"], job["source"]), server_hostname="localhost")
        self.socket.setblocking(False)
        tally.opened += 1

    def write(self):
        """Writes what the socket takes, one batch at most."""
        if not self.waiting:
            self.tally.units += self.units
            data, self.units = next(self.stream)
            self.waiting = memoryview(data)
        try:
            size = self.socket.send(self.waiting)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        self.tally.sent += size
        self.waiting = self.waiting[size:]

    def read(self):
        """Takes in what came; false at the end of the connection."""
        while True:
            try:
                some = self.socket.recv(65_536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return True
            except OSError:
                return False
            if not some:
                return False
            self.received += some
            self.parse()

    def parse(self):
        at, data = 0, self.received
        while len(data) >= at + 9:
            size = int.from_bytes(data[at:at + 3], "big")
            if len(data) < at + 9 + size:
                break
            kind = data[at + 3]
            if kind == GOAWAY:
                code = int.from_bytes(data[at + 13:at + 17], "big")
                self.tally.goaway[code] = self.tally.goaway.get(code, 0) + 1
            self.tally.resets += kind == RST_STREAM
            self.tally.answers += kind == HEADERS
            at += 9 + size
        del data[:at]


def flood(job, kind):
    """Keeps `connections` flooding for `seconds`; those that were closed are dialled anew."""
    trusting, tally = context(job["ca"], "h2"), Tally()
    lanes = set()
    end = time.monotonic() + job["seconds"]
    with selectors.DefaultSelector() as chooser:
        while time.monotonic() < end:
            while len(lanes) < job["connections"]:
                lane = Lane(job, kind, trusting, tally)
                lanes.add(lane)
                chooser.register(lane.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, lane)
            for key, events in chooser.select(0.05):
                lane = key.data
                if not turn(lane, events):
                    chooser.unregister(lane.socket)
                    lane.socket.close()
                    lanes.discard(lane)
                    tally.closed += 1
        for lane in lanes:
            lane.read()
            lane.socket.close()
    return tally.told()


def turn(lane, events):
    """One step of a lane; false when the gateway has ended it."""
    try:
        if events & selectors.EVENT_WRITE:
            lane.write()
    except OSError:
        # What it said before it closed is still to be read.
        lane.read()
        return False
    return lane.read() if lane.reads and events & selectors.EVENT_READ else True
