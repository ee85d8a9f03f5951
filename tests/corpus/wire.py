"""Bytes on the wire: raw HTTP/1.1 and HTTP/2 over TLS, as the corpora write them.

No HTTP library stands between a case and the gateway: a library would mend what a case
means to break. Every byte received is kept, so that the search for leaks sees it.
"""

import socket
import ssl
import struct
import time
import urllib.parse
from dataclasses import dataclass, field

import hpack

# After a whole answer on an open connection: how long a further one may take.
IDLE = 0.3
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, GOAWAY = 1, 3, 4, 7
END_STREAM, ACK = 0x1, 0x1
# Offsets of a frame's payload that are padding or priority never occur in the corpora.


@dataclass
class Reply:
    """One answer, or the end of a stream."""

    status: int
    headers: list = field(default_factory=list)
    body: bytes = b""

    def header(self, name):
        for own, value in self.headers:
            if own.lower() == name:
                return value
        return None


@dataclass
class Exchange:
    """What came back on one connection."""

    replies: list = field(default_factory=list)
    closed: bool = False
    reset: int | None = None
    goaway: int | None = None
    seconds: float = 0.0

    @property
    def status(self):
        return self.replies[0].status if self.replies else None

    def header(self, name):
        return self.replies[0].header(name) if self.replies else None


class Wire:
    """Connections to one gateway; `received` holds every byte that came back."""

    def __init__(self, url, ca):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.authority = f"{self.host}:{self.port}"
        self.ca = ca
        self.received = bytearray()

    def connect(self, protocol):
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols([protocol])
        plain = socket.create_connection((self.host, self.port), timeout=20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=self.host)

    def _read(self, connection, timeout):
        """Some bytes, `b""` at the end, None when nothing came in time."""
        connection.settimeout(max(timeout, 0.001))
        try:
            some = connection.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return None
        except (ConnectionError, ssl.SSLError, OSError):
            return b""
        self.received += some
        return some

    # --- HTTP/1.1 ----------------------------------------------------------------

    def http1(self, data, patience=15.0):
        """Sends these bytes and reads until the end, or until nothing more comes."""
        began = time.monotonic()
        connection = self.connect("http/1.1")
        found, buffer = Exchange(), b""
        bodiless = data.startswith(b"HEAD ")
        try:
            try:
                connection.sendall(data)
            except (ConnectionError, ssl.SSLError, OSError):
                pass  # the gateway may close before it has read everything
            while True:
                waits = IDLE if found.replies and not buffer and not closing(found) else patience
                some = self._read(connection, min(waits, began + patience - time.monotonic()))
                if some is None:
                    break
                if some == b"":
                    found.closed = True
                    break
                buffer = parse(buffer + some, found.replies, bodiless=bodiless)
            if buffer and found.closed:
                parse(buffer, found.replies, at_end=True, bodiless=bodiless)
        finally:
            connection.close()
        found.seconds = time.monotonic() - began
        return found

    def request(self, method, target, headers=(), body=b"", patience=30.0):
        """A request whose target and header values are sent as they are given."""
        lines = [f"{method} {target} HTTP/1.1".encode("latin-1")]
        given = [("Host", self.authority), *headers, ("Connection", "close")]
        if body or method in ("POST", "PUT", "PATCH"):
            given.append(("Content-Length", str(len(body))))
        lines += [f"{name}: {value}".encode("latin-1") for name, value in given]
        return self.http1(b"\r\n".join(lines) + b"\r\n\r\n" + body, patience)

    # --- HTTP/2 ------------------------------------------------------------------

    def http2(self, data, patience=8.0, stream=1):
        """Sends these frames and reads until the stream or the connection ends."""
        began = time.monotonic()
        connection = self.connect("h2")
        found, buffer, decoder = Exchange(), b"", hpack.Decoder()
        acknowledged = False
        try:
            try:
                connection.sendall(data)
            except (ConnectionError, ssl.SSLError, OSError):
                pass
            over = False
            while not over:
                some = self._read(connection, began + patience - time.monotonic())
                if not some:
                    found.closed = some == b""
                    break
                buffer += some
                while len(buffer) >= 9:
                    size = int.from_bytes(buffer[:3], "big")
                    if len(buffer) < 9 + size:
                        break
                    kind, flags = buffer[3], buffer[4]
                    own = int.from_bytes(buffer[5:9], "big") & 0x7FFFFFFF
                    payload, buffer = buffer[9:9 + size], buffer[9 + size:]
                    over |= self._frame(found, decoder, kind, flags, own, payload, stream)
                    if kind == SETTINGS and not flags & ACK and not acknowledged:
                        acknowledged = True
                        try:
                            connection.sendall(frame(SETTINGS, ACK, 0))
                        except (ConnectionError, ssl.SSLError, OSError):
                            pass
        finally:
            connection.close()
        found.seconds = time.monotonic() - began
        return found

    def _frame(self, found, decoder, kind, flags, own, payload, stream):
        """Takes one frame in; true when there is nothing more to wait for."""
        if kind == HEADERS:
            fields = decoder.decode(payload, raw=True)
            # Header blocks are compressed: what they hold is searched for leaks here.
            self.received += b"".join(name + b": " + value + b"\n" for name, value, *_ in fields)
            pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v, *_ in fields]
            if own == stream:
                status = int(dict(pairs)[":status"])
                found.replies.append(Reply(status, pairs))
        elif kind == 0 and own == stream and found.replies:
            found.replies[-1].body += payload
        elif kind == RST_STREAM and own == stream:
            found.reset = struct.unpack(">I", payload)[0]
            return True
        elif kind == GOAWAY:
            found.goaway = struct.unpack(">I", payload[4:8])[0]
            return found.goaway != 0
        return kind in (0, HEADERS) and own == stream and bool(flags & END_STREAM)

    def request2(self, method, path, headers=(), body=b"", patience=30.0):
        """The same request over HTTP/2."""
        given = [(":method", method), (":scheme", "https"), (":authority", self.authority),
                 (":path", path), *((name.lower(), value) for name, value in headers)]
        if body:
            given.append(("content-length", str(len(body))))
        data = PREFACE + frame(SETTINGS, 0, 0)
        data += frame(HEADERS, 0x4 | (0 if body else END_STREAM), 1, literal(given))
        for start in range(0, len(body), 16384):
            last = start + 16384 >= len(body)
            data += frame(0, END_STREAM if last else 0, 1, body[start:start + 16384])
        return self.http2(data, patience)


def closing(found):
    return (found.replies[-1].header("connection") or "").lower() == "close"


def parse(buffer, replies, at_end=False, bodiless=False):
    """Takes whole answers off the buffer; what is left is not whole yet."""
    while True:
        head, mark, rest = buffer.partition(b"\r\n\r\n")
        if not mark or not head.startswith(b"HTTP/1."):
            return buffer
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        reply = Reply(status, headers)
        length = reply.header("content-length")
        if bodiless:
            pass  # the lengths are those of the answer to a GET
        elif length is not None:
            if len(rest) < int(length):
                return buffer
            reply.body, rest = rest[:int(length)], rest[int(length):]
        elif (reply.header("transfer-encoding") or "").lower() == "chunked":
            whole = dechunk(rest)
            if whole is None:
                return buffer
            reply.body, rest = whole
        elif status >= 200 and status not in (204, 304) and reply.header("connection") == "close":
            if not at_end:
                return buffer
            reply.body, rest = rest, b""
        buffer = rest
        # 1xx answers precede the real one.
        if status >= 200 or status == 101:
            replies.append(reply)


def dechunk(data):
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        size = int(line.split(b";")[0], 16)
        if len(data) < size + 2:
            return None
        body, data = body + data[:size], data[size + 2:]
        if size == 0:
            return body, data


def frame(kind, flags, stream, payload=b""):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def literal(fields):
    """HPACK literals without indexing or Huffman coding, whatever they hold."""
    block = b""
    for name, value in fields:
        name, value = name.encode("latin-1"), value.encode("latin-1")
        block += b"\0" + integer(len(name)) + name + integer(len(value)) + value
    return block


def integer(number, bits=7):
    limit = (1 << bits) - 1
    if number < limit:
        return bytes([number])
    out, number = [limit], number - limit
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])
