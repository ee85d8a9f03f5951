"""TLS below the handshake's good manners: records in pieces, too large, endless, or no TLS.

A client's bytes are made by the TLS library in memory and cut up before they are sent, so
that the tricks are on the wire and the library's own checks still judge the answers.
"""

import itertools
import pathlib
import ssl
import tempfile
import time

from frames import HELLO, PING
from pump import authority, context, dial
from wire import frame

HANDSHAKE, CHANGE, ALERT = 22, 20, 21


def record(kind, payload):
    return bytes([kind, 3, 3]) + len(payload).to_bytes(2, "big") + payload


def crumbs(data):
    """Every record of these bytes as records of one byte."""
    at, out = 0, []
    while at < len(data):
        size = int.from_bytes(data[at + 3:at + 5], "big")
        payload = data[at + 5:at + 5 + size]
        out += [data[at:at + 3] + b"\0\1" + payload[n:n + 1] for n in range(size)]
        at += 5 + size
    return out


def bytewise(data):
    return [data[n:n + 1] for n in range(len(data))]


def whole(data):
    return [data]


class Client:
    """A TLS client whose first flight, which is not sealed yet, passes through `cut`."""

    def __init__(self, job, trusting=None, cut=whole):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = trusting or context(job["ca"], "http/1.1")
        self.tls = trusting.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.cut, self.host = cut, authority(job["url"])
        self.socket = dial(job["url"], job["source"], timeout=5)

    def flush(self):
        waiting = self.outgoing.read()
        for piece in self.cut(waiting):
            self.socket.sendall(piece)
        self.cut = whole if waiting else self.cut

    def until(self, step):
        """Does a step of TLS, sending and receiving until it is done."""
        while True:
            try:
                done = step()
                self.flush()
                return done
            except ssl.SSLWantReadError:
                self.flush()
                some = self.socket.recv(65_536)
                self.incoming.write(some) if some else self.incoming.write_eof()

    def shake(self):
        self.until(self.tls.do_handshake)

    def ask(self, one_by_one=False):
        """A request of a stranger; the status of its answer."""
        asked = f"GET / HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n".encode()
        for piece in ([asked[n:n + 1] for n in range(len(asked))] if one_by_one else [asked]):
            self.until(lambda piece=piece: self.tls.write(piece))
        return int(self.until(lambda: self.tls.read(65_536)).split(b" ")[1])


def shake_hands(job, trusting, cut, **asking):
    """A handshake and a request; what was agreed on, or how it was refused."""
    client = Client(job, trusting, cut)
    try:
        client.shake()
        return {"version": client.tls.version(), "status": client.ask(**asking)}
    except (ssl.SSLError, OSError) as error:
        return {"refused": getattr(error, "reason", None) or repr(error)}
    finally:
        client.socket.close()


def hello_crumbs(job):
    """The ClientHello in records of one byte: served, and with nothing weaker."""
    return shake_hands(job, context(job["ca"], "http/1.1"), crumbs)


def hello_segments(job):
    """The ClientHello in TCP segments of one byte."""
    return shake_hands(job, None, bytewise)


def old_hello_crumbs(job):
    """The same by a client of TLS 1.2: where that is off it must not come in this way."""
    trusting = context(job["ca"], "http/1.1")
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    return shake_hands(job, trusting, crumbs)


def old_hello(job):
    trusting = context(job["ca"], "http/1.1")
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    return shake_hands(job, trusting, whole)


def request_crumbs(job):
    """An honest request, every byte of it a record of its own."""
    return shake_hands(job, None, whole, one_by_one=True)


def pieces(job, endless, opening=b""):
    """Sends raw bytes until the gateway ends the connection or the time is over."""
    connection, sent = dial(job["url"], job["source"], timeout=5), 0
    began, received = time.monotonic(), b""
    ended = False
    try:
        connection.sendall(opening)
        for piece in endless:
            if time.monotonic() - began > job["seconds"]:
                break
            connection.sendall(piece)
            sent += len(piece)
        connection.settimeout(job["seconds"])
        while some := connection.recv(65_536):
            received += some
        ended = True
    except TimeoutError:
        pass
    except OSError:
        ended = True
    finally:
        connection.close()
    return {"over": ended, "sent": sent, "seconds": time.monotonic() - began,
            "alert": received[6] if received[:1] == bytes([ALERT]) and len(received) > 6 else None,
            "clear": b"HTTP/" in received}


def record_too_large(job):
    """A record of 65,535 bytes, which is four times what TLS allows."""
    return pieces(job, [b"\0" * 65_535], b"\x16\x03\x01\xff\xff")


def hello_endless(job):
    """A ClientHello of 16 MiB, in records of the right size."""
    start = record(HANDSHAKE, b"\1\xff\xff\xff\3\3")
    return pieces(job, itertools.repeat(record(HANDSHAKE, b"\0" * 16_000), 1_100), start)


def records_empty(job):
    """A ClientHello that is begun, then handshake records with nothing in them."""
    start = record(HANDSHAKE, b"\1\0\1\0\3\3")
    return pieces(job, itertools.repeat(record(HANDSHAKE, b"") * 2_000), start)


def changes_endless(job):
    """ChangeCipherSpec over and over, which TLS 1.3 tells servers to ignore."""
    client = Client(job)
    try:
        client.tls.do_handshake()
    except ssl.SSLWantReadError:
        hello = client.outgoing.read()
    client.socket.close()
    return pieces(job, itertools.repeat(record(CHANGE, b"\1") * 2_000), hello)


def alerts_endless(job):
    """Warnings over and over before any handshake."""
    return pieces(job, itertools.repeat(record(ALERT, b"\1\x5a") * 2_000))


def plain_http(job):
    """HTTP without TLS: never answered in the clear."""
    return pieces(job, [f"GET / HTTP/1.1\r\nHost: {authority(job['url'])}\r\n\r\n".encode()])


def certificate_large(job):
    """A client certificate with a chain of some 200 KiB."""
    trusting = context(job["ca"], "http/1.1")
    own = pathlib.Path(job["ca"]).parent
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as chain:
        leaf = (own / "localhost.pem").read_text(encoding="ascii")
        first = leaf[:leaf.index("-----END CERTIFICATE-----") + 25] + "\n"
        chain.write(first * 400)
        chain.flush()
        trusting.load_cert_chain(chain.name, own / "localhost.key")
    return shake_hands(job, trusting, whole)


def record_bytes(job):
    """A flood of PINGs in records of one byte: a record costs more than what it holds."""
    client, sent, closed = Client(job, context(job["ca"], "h2")), 0, False
    try:
        client.shake()
        client.until(lambda: client.tls.write(HELLO))
        ping = frame(PING, 0, 0, b"12345678")
        end = time.monotonic() + job["seconds"]
        client.socket.settimeout(0.5)
        while time.monotonic() < end:
            for _ in range(20):
                for at in range(len(ping)):
                    client.tls.write(ping[at:at + 1])
                    sent += 1
            client.flush()
            client.socket.recv(65_536)
    except TimeoutError:
        pass
    except OSError:
        closed = True
    finally:
        client.socket.close()
    return {"units": sent, "closed": closed}


TRICKS = {
    "hello-in-records-of-a-byte": hello_crumbs,
    "hello-in-segments-of-a-byte": hello_segments,
    "tls12-hello": old_hello,
    "tls12-hello-in-records-of-a-byte": old_hello_crumbs,
    "request-in-records-of-a-byte": request_crumbs,
    "records-of-a-byte": record_bytes,
    "record-too-large": record_too_large,
    "hello-endless": hello_endless,
    "records-empty": records_empty,
    "changes-endless": changes_endless,
    "alerts-endless": alerts_endless,
    "plain-http": plain_http,
    "certificate-large": certificate_large,
}
