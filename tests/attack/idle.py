"""Connections that finish TLS and then idle, thousands of them.

A third says nothing, a third has had an answer over HTTP/1.1, a third is in HTTP/2 and
answers the gateway's PINGs. Each waits for the gateway to agree before it counts as open.
"""

import json
import select
import selectors
import ssl
import sys
import time

from frames import HELLO, PING
from pump import authority, context, dial
from wire import ACK, frame

KINDS = ("silent", "answered", "h2")


class Idler:
    """One idle connection."""

    def __init__(self, job, number, contexts, chooser):
        self.kind = KINDS[number % len(KINDS)] if job["kinds"] is None else job["kinds"]
        source = job["sources"][number % len(job["sources"])]
        plain = dial(job["url"], source)
        try:
            trusting = contexts["h2" if self.kind == "h2" else "http/1.1"]
            self.socket = trusting.wrap_socket(plain, server_hostname="localhost")
        except OSError:
            plain.close()
            raise
        if self.kind == "answered":
            asked = f"GET / HTTP/1.1\r\nHost: {authority(job['url'])}\r\n\r\n"
            self.socket.sendall(asked.encode())
            if not self.socket.recv(65_536).startswith(b"HTTP/1.1 401"):
                raise OSError("a stranger was not told to show a token")
        elif self.kind == "h2":
            self.socket.sendall(HELLO)
            if not self.socket.recv(65_536):
                raise OSError("closed")
        self.socket.setblocking(False)
        chooser.register(self.socket, selectors.EVENT_READ, self)

    def read(self):
        """Takes in what came; false when the gateway has closed."""
        try:
            some = self.socket.recv(65_536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        # An idle connection gets nothing but PINGs, each in a record of its own.
        at = some.find(b"\0\0\x08\x06\0\0\0\0\0")
        if at >= 0:
            self.socket.send(frame(PING, ACK, 0, some[at + 9:at + 17]))
        return bool(some)


def poll(chooser, timeout=0):
    """Reads from whoever has something; how many were closed by the gateway."""
    closed = 0
    for key, _ in chooser.select(timeout):
        if not key.data.read():
            chooser.unregister(key.fileobj)
            key.fileobj.close()
            closed += 1
    return closed


def hold(job):
    """Opens `connections` from `sources`, says when they are open, and keeps them until told to end."""
    contexts = {name: context(job["ca"], name) for name in ("h2", "http/1.1")}
    opened = refused = closed = 0
    why = {}
    with selectors.DefaultSelector() as chooser:
        for number in range(job["connections"]):
            try:
                Idler(job, number, contexts, chooser)
                opened += 1
            except OSError as error:
                refused += 1
                reason = type(error).__name__
                why[reason] = why.get(reason, 0) + 1
            if number % 50 == 49:
                closed += poll(chooser)
        print(json.dumps({"open": time.monotonic()}), flush=True)
        # The parent judges meanwhile, and ends the wait by closing standard input.
        while not select.select([sys.stdin], [], [], 0)[0]:
            closed += poll(chooser, 0.05)
        left = len(chooser.get_map())
    return {"opened": opened, "refused": refused, "closed": closed, "left": left, "why": why}
