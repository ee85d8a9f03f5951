"""Azure Resource Manager in hostile hands: a front end that answers what it likes.

It stands between the gateway and the emulator. A request for a vault that has a trap is
answered by the trap, byte by byte as the trap says; any other goes on to the emulator, as one
for the vault `v1`. What a trap sends may stop, break or lie at any place.
"""

import contextlib
import http.client
import re
import socket
import ssl
import struct
import threading
import urllib.parse

CLOSE, RESET, STALL, SHUT = "close", "reset", "stall", "shut"
NAMED = re.compile(r"/vaults/(h[0-9a-z-]+)")
HEADERS = 64 << 10


class Request:
    """One request of the gateway."""

    def __init__(self, head, body, connection=None):
        # Names the connection; the next one after it is another.
        self.connection = connection
        line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ", 2)
        self.headers = {name.lower(): value.strip() for name, _, value in
                        (field.partition(":") for field in fields)}
        self.body = body
        self.token = self.headers.get("authorization", "").removeprefix("Bearer ")
        self.identity = "reader" if ".reader." in self.token else "operator"
        named = NAMED.search(self.target)
        self.vault = named[1] if named else None
        # What is no vault's, such as the list of all, is known by its path.
        self.place = self.vault or self.target.partition("?")[0]


class HostileArm:
    """The front end; `traps` are by vault, or path where there is none, and identity."""

    def __init__(self, certificate, key, behind):
        self.behind = urllib.parse.urlsplit(behind)
        self.traps, self.asked, self.tokens = {}, [], set()
        self.ended = threading.Event()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        # Whoever stands behind is known to the test, not to the gateway.
        self.trusting = ssl._create_unverified_context()
        self.door = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.door.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def trap(self, vault, *steps, identity="operator"):
        """Answers requests for this vault: bytes, functions of the request that give bytes,
        and how it ends. Without an end the connection waits for the next request."""
        self.traps[vault, identity] = steps

    def requests(self, vault, identity="operator", method=None):
        return [r for r in list(self.asked) if (r.place, r.identity) == (vault, identity)
                and method in (None, r.method)]

    def accept(self):
        while not self.ended.is_set():
            try:
                plain, _ = self.door.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    def serve(self, plain):
        with contextlib.suppress(OSError, ValueError), plain:
            connection, name = self.tls.wrap_socket(plain, server_side=True), object()
            kept = b""
            while True:
                while b"\r\n\r\n" not in kept:
                    some = connection.recv(HEADERS)
                    if not some:
                        return
                    kept += some
                head, _, kept = kept.partition(b"\r\n\r\n")
                request = Request(head, b"", name)
                length = int(request.headers.get("content-length", 0))
                while len(kept) < length:
                    kept += connection.recv(HEADERS)
                request.body, kept = kept[:length], kept[length:]
                self.tokens.add(request.token)
                self.asked.append(request)
                steps = self.traps.get((request.place, request.identity))
                if steps is None:
                    connection.sendall(self.passed_on(request))
                elif not self.play(connection, steps, request):
                    return

    def play(self, connection, steps, request):
        """Answers; false when the connection is over."""
        for step in steps:
            if step == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                return False
            if step == CLOSE:
                return False
            if step == SHUT:
                # Says so in TLS, as an end that is meant; `CLOSE` does not.
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.unwrap()
                return False
            if step == STALL:
                # The gateway gives up first, or the suite is over.
                connection.settimeout(60)
                connection.recv(1)
                return False
            connection.sendall(step(request) if callable(step) else step)
        return True

    def passed_on(self, request):
        """The emulator's answer, as if the vault were `v1`."""
        own = f"/vaults/{request.vault}" if request.vault else None
        target = request.target.replace(own, "/vaults/v1") if own else request.target
        honest = http.client.HTTPSConnection(self.behind.hostname, self.behind.port, timeout=30,
                                             context=self.trusting)
        headers = {name: value for name, value in request.headers.items()
                   if name not in ("host", "content-length", "connection")}
        honest.request(request.method, target, request.body or None, headers)
        answer = honest.getresponse()
        body = answer.read()
        if own:
            body = body.replace(b"/vaults/v1", own.encode())
        kept = [f"{name}: {value}" for name, value in answer.getheaders()
                if name.lower() in ("content-type", "etag", "date", "x-ms-request-id")]
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *kept, f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def close(self):
        self.ended.set()
        self.door.close()


class Lure:
    """An address that nobody has a reason to call."""

    def __init__(self):
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self.calls = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.door.accept()[0].close()
                self.calls += 1

    def close(self):
        self.door.close()
