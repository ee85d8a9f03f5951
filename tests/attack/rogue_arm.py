"""A hostile Azure Resource Manager: TLS, raw bytes, and no HTTP library that would mend them.

Answers every request honestly unless it is for a vault that a play was registered for: then
the play has the connection. It keeps what it was sent, so a suite can count how often a change
arrived and under which connection. It takes the part of the login authority too. `Lure` is a
host that nobody may ever call.
"""

import contextlib
import itertools
import json
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse

from world import PROD

GROUP = f"/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.RecoveryServices"
# A connection that nobody ends is given up, so that no thread outlives its suite.
PATIENCE = 30
VAULT_OF = re.compile(r"/vaults/([^/?]+)", re.IGNORECASE)


def encode(document):
    return json.dumps(document, separators=(",", ":")).encode()


def response(body=b"", status="200 OK", headers=(), length=True):
    """An answer as ARM writes it; `headers` come after the usual ones."""
    body = body if isinstance(body, bytes) else encode(body)
    given = [("Content-Type", "application/json; charset=utf-8"), *headers]
    if length:
        given.append(("Content-Length", str(len(body))))
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def chunked(*pieces, ending=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + ending


class Asked:
    """One request as it arrived."""

    def __init__(self, head, body, connection):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.body, self.connection = body, connection
        self.path = self.target.split("?")[0]
        found = VAULT_OF.search(self.path)
        self.vault = found[1] if found else None

    @property
    def token(self):
        return self.headers.get("authorization", "").removeprefix("Bearer").strip()

    @property
    def operator(self):
        """Forwarded for a caller, rather than one of the gateway's own reads."""
        return ".operator." in self.token

    @property
    def decision(self):
        return self.headers.get("x-ms-client-request-id")


class Line:
    """The connection a play has; every way of ending it ends the thread's loop."""

    def __init__(self, tls, number):
        self.tls, self.number, self.open = tls, number, True

    def send(self, data):
        """Whether all of it was taken."""
        try:
            self.tls.sendall(data)
            return True
        except OSError:
            self.open = False
            return False

    def gone(self, patience=PATIENCE):
        """Says nothing more, and waits until the gateway ends the connection."""
        self.open = False
        try:
            self.tls.settimeout(patience)
            while self.tls.recv(4096):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True

    stall = gone

    def close(self):
        """An orderly end: TLS says that there is nothing more."""
        self.open = False
        with contextlib.suppress(OSError, ValueError):
            self.tls.settimeout(0.02)
            self.tls.unwrap()

    def cut(self):
        """TCP ends and TLS never said so."""
        self.open = False

    def reset(self):
        self.open = False
        with contextlib.suppress(OSError):
            self.tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server:
    """Listens until it is stopped; one thread for each connection."""

    def __init__(self, certificates):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        self.numbers = itertools.count(1)
        self.live = set()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    def serve(self, plain):
        self.live.add(plain)
        try:
            plain.settimeout(PATIENCE)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.context.wrap_socket(plain, server_side=True) as tls:
                tls.settimeout(None)
                self.talk(Line(tls, next(self.numbers)))
        except (OSError, ValueError):
            pass  # the other side ended first
        finally:
            self.live.discard(plain)
            plain.close()

    def stop(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for plain in list(self.live):
            plain.close()


class Lure(Server):
    """A host with a good certificate that answers anything: each hit is a failure."""

    def __init__(self, certificates):
        self.hits = []
        super().__init__(certificates)

    def serve(self, plain):
        # Whoever only knocks has been lured as well.
        self.hits.append("a connection")
        super().serve(plain)

    def talk(self, line):
        self.hits.append(line.tls.recv(65_536)[:300])
        line.send(response({"lured": True}))


class RogueArm(Server):
    """Plays by vault; honest to the others."""

    def __init__(self, certificates):
        self.plays, self.asked, self.tokens = {}, [], set()
        self.lock = threading.Lock()
        self.names = itertools.count(1)
        # What the subscription's list of vaults leads to, once.
        self.inventory = {"value": []}
        self.mint, self.authority = None, None
        super().__init__(certificates)

    # --- what suites use -----------------------------------------------------------

    def vault(self, play=None):
        """The path of a vault of its own, whose requests `play(line, asked)` answers."""
        name = f"rogue{next(self.names)}"
        if play:
            self.plays[name] = play
        return f"{GROUP}/vaults/{name}"

    def about(self, vault, operator=True):
        """What arrived for this vault under one of the identities."""
        name = vault.rsplit("/", 1)[-1]
        with self.lock:
            return [a for a in self.asked if a.vault == name and a.operator == operator]

    def honest(self, asked):
        """The answer of an Azure that means well."""
        if asked.method == "POST":
            polled = f"{self.url}{asked.path.removesuffix('/backup')}/operationsStatus/o1?api-version=2026-08-01"
            return response(b"", "202 Accepted", [
                ("Azure-AsyncOperation", polled), ("Location", polled), ("Retry-After", "1"),
                ("x-ms-request-id", f"request-{asked.decision}")])
        if asked.method in ("PUT", "PATCH"):
            return response(asked.body)
        if asked.vault is None:
            return response(self.inventory)
        return response(self.document(asked), headers=[("x-ms-request-id", f"request-{asked.decision}")])

    @staticmethod
    def document(asked):
        last = asked.path.rsplit("/", 1)[-1]
        if last == asked.vault:
            return {"id": asked.path, "name": asked.vault, "location": "westeurope", "tags": {},
                    "properties": {"provisioningState": "Succeeded", "securitySettings": {
                        "immutabilitySettings": {"state": "Disabled"}}}}
        if last == "vaultconfig":
            return {"id": asked.path, "name": last, "properties": {"softDeleteFeatureState": "Enabled",
                                                                  "softDeleteRetentionPeriodInDays": 14}}
        if "operationsStatus" in asked.path:
            return {"name": last, "status": "InProgress", "startTime": "2026-11-23T00:00:00Z"}
        return {"value": []}

    # --- one connection ---------------------------------------------------------------

    def talk(self, line):
        pending = b""
        while line.open:
            asked, pending = self.request(line, pending)
            if asked is None:
                return
            if asked.path.endswith("/oauth2/v2.0/token"):
                (self.authority or self.signed_in)(line, asked)
                continue
            with self.lock:
                self.asked.append(asked)
                self.tokens |= {asked.token} - {""}
            play = self.plays.get(asked.vault)
            if not asked.token:
                line.send(response({"error": {"code": "AuthenticationFailed"}}, "401 Unauthorized"))
            elif play:
                play(line, asked)
            else:
                line.send(self.honest(asked))

    @staticmethod
    def request(line, pending):
        while b"\r\n\r\n" not in pending:
            some = line.tls.recv(65_536)
            if not some:
                return None, b""
            pending += some
        head, _, rest = pending.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        length = int(length[1]) if length else 0
        while len(rest) < length:
            some = line.tls.recv(65_536)
            if not some:
                return None, b""
            rest += some
        return Asked(head, rest[:length], line.number), rest[length:]

    # --- the login authority ---------------------------------------------------------

    @staticmethod
    def form(asked):
        return {name: values[0] for name, values in urllib.parse.parse_qs(asked.body.decode()).items()}

    def granted(self, asked, **other):
        """A token so short-lived that the gateway comes back for the next request."""
        who = self.form(asked)["client_id"].removeprefix("vaultgate-")
        return {"token_type": "Bearer", "expires_in": 20, "ext_expires_in": 20,
                "access_token": self.mint(who), **other}

    def signed_in(self, line, asked):
        line.send(response(self.granted(asked)))


def wait(moment):
    """Until a moment of the monotonic clock: for slow senders, never for luck."""
    time.sleep(max(0.0, moment - time.monotonic()))
