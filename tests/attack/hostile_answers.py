"""What a hostile identity provider answers, and the token that its answer would make good.

Every answer offers the key of an intruder, who signs a token with it. A gateway that
followed the redirect, inflated the bomb or took the shared secret would let the intruder in.
"""

import functools
import gzip
import json
import socket
import struct
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from hostile_idp import DISCOVERY, KEYS, key
from issuer import b64, number

INTRUDER = key("intruder")
KEYS.keys["short"] = rsa.generate_private_key(public_exponent=65537, key_size=1024)
SECRET = "text:a secret that everybody can read"
MEBIBYTE = 1 << 20
JWKS = "jwks"
DEGRADED, UNKNOWN, UNSIGNED = "issuer-degraded", "token-key-unknown", "token-signature"
CHUNKED = "transfer-encoding: chunked"


def published(**more):
    """The intruder's key under the name of the honest one."""
    return {"keys": [KEYS.jwk(INTRUDER, **{"alg": "ES256", "use": "sig", "kid": "k1", **more})]}


def offered(realm, document, **more):
    """What would let the intruder in, if it were taken."""
    return realm.metadata(**more) if document.endswith(DISCOVERY) else published()


# --- how an answer is bent: each returns whether it answered --------------------------------

def at(documents, bend):
    """This trouble at these documents; the others offer the intruder's key."""
    def trouble(exchange, realm, document):
        if document in documents:
            bend(exchange, realm, document)
        else:
            exchange.give(offered(realm, document))
        return True
    return trouble


def redirect(status, own=False):
    def bend(exchange, realm, document):
        target = f"{realm.url}/moved/{document}" if own else f"{exchange.elsewhere()}/{realm.name}/{document}"
        exchange.give(b"", status=f"{status} Moved", location=target)
    return bend


def answered(body, **how):
    """This document, or what a function makes of the realm and the document's name."""
    def bend(exchange, realm, document):
        exchange.give(body(realm, document) if callable(body) else body, **how)
    return bend


def keys_at(address):
    """Discovery that sends for the keys to an address."""
    def bend(exchange, realm, _):
        exchange.give(realm.metadata(jwks_uri=address(exchange, realm)))
    return bend


def head(*fields, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", "content-type: application/json", *fields, "", ""]).encode()


def endless(opening, block):
    """A beginning, then the same block for as long as anybody takes it."""
    def bend(exchange, realm, document):
        exchange.raw(opening(json.dumps(offered(realm, document)).encode()))
        while True:
            exchange.raw(block)
            time.sleep(0.001)  # as fast as a network: the attack is on the gateway, not the machine
    return bend


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def unended(exchange, realm, document):
    """The whole document in a chunk, and never the last chunk."""
    exchange.raw(head(CHUNKED) + chunk(json.dumps(offered(realm, document)).encode()))
    exchange.rfile.read(1)  # until the gateway goes away


def truncated(exchange, realm, document):
    body = json.dumps(offered(realm, document)).encode()
    exchange.give(body, content_length=len(body) + 1)


def reset(exchange, realm, document):
    """Half of an answer, then RST."""
    body = json.dumps(offered(realm, document)).encode()
    exchange.raw(head(f"content-length: {len(body)}") + body[:len(body) // 2])
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.connection.close()


def silent(exchange, realm, document):
    exchange.rfile.read(1)


def dripped(exchange, realm, document):
    """An answer that is right, a byte at a time, and too late."""
    body = json.dumps(offered(realm, document)).encode()
    for byte in head(f"content-length: {len(body)}") + body:
        exchange.raw(bytes([byte]))
        time.sleep(0.05)


def bomb(mebibytes):
    """The document, then spaces: little on the wire, much when inflated."""
    spaces = gzip.compress(b" " * MEBIBYTE, mtime=0) * mebibytes

    def bend(exchange, realm, document):
        whole = json.dumps(offered(realm, document)).encode()
        exchange.give(gzip.compress(whole) + spaces, content_encoding="gzip")
    return bend


@functools.cache
def many(realm, document):
    """200,000 keys, the intruder's first; made once."""
    one = json.dumps(KEYS.jwk("es-1", alg="ES256", use="sig", kid="%d")).encode()
    first = json.dumps(published()["keys"][0]).encode()
    return b'{"keys":[' + first + b"".join(b"," + one % n for n in range(200_000)) + b"]}"


def nested(realm, document):
    return json.dumps({**offered(realm, document), "x": 0}).encode()[:-2] + b"[" * 100_000


def private():
    """The intruder's key with its private half, as anybody may read it."""
    secret = KEYS.keys[INTRUDER].private_numbers().private_value
    return published(d=number(secret, 32))


def rsa_key(name, algorithm):
    return {"keys": [KEYS.jwk(name, alg=algorithm, use="sig", kid="k1")]}


# --- the intruder's tokens ------------------------------------------------------------------

def signed(realm):
    return realm.token(INTRUDER, kid="k1")


def shared(secret):
    """Signed with a secret that anybody can read."""
    return lambda realm: realm.token(INTRUDER, kid="k1", header={"alg": "HS256"},
                                     signature=lambda text: KEYS.sign("HS256", secret, text))


def unsigned(realm):
    return realm.token(INTRUDER, kid="k1", header={"alg": "none"}, signature=lambda _: b"\0")


def factored(realm):
    """By a key that is short enough to be factored."""
    def sign(text):
        return KEYS.keys["short"].sign(text, padding.PKCS1v15(), hashes.SHA256())
    return realm.token(INTRUDER, kid="k1", header={"alg": "RS256"}, signature=sign)


@dataclass
class Hostile:
    """An answer, and the token that it would make good."""

    trouble: object
    token: object = signed
    # Whether it replaces nothing: the last good keys are used on.
    keeps: bool = True
    # What the intruder may be told: that the keys cannot be had, or that none is its own.
    reasons: tuple = (DEGRADED,)


def keys(document, token=signed, **more):
    return Hostile(at([JWKS], answered(document)), token, **more)


def discovery(bend):
    return Hostile(at([DISCOVERY], bend))


ANSWERS = {
    **{f"redirect-{status}": discovery(redirect(status)) for status in (301, 302, 303, 307, 308)},
    "redirect-own-origin": discovery(redirect(302, own=True)),
    "redirect-keys": Hostile(at([JWKS], redirect(302))),
    "redirect-keys-own-origin": Hostile(at([JWKS], redirect(307, own=True))),
    "keys-elsewhere": discovery(keys_at(lambda e, r: f"{e.elsewhere()}/{r.name}/jwks")),
    "keys-behind-a-user": discovery(keys_at(
        lambda e, r: f"{r.idp.root}@{e.elsewhere().removeprefix('http://')}/{r.name}/jwks")),
    # The same server under another name is another origin.
    "keys-under-another-name": discovery(keys_at(lambda e, r: r.url.replace("127.0.0.1", "localhost") + "/jwks")),
    "keys-in-a-file": discovery(keys_at(lambda e, r: "file:///etc/hostname")),
    "endless-body": Hostile(at([JWKS], endless(lambda whole: head() + whole, b" " * 65536))),
    "endless-discovery": discovery(endless(
        lambda whole: head("content-length: 1099511627776") + whole, b" " * 65536)),
    "endless-chunks": Hostile(at([JWKS], endless(lambda whole: head(CHUNKED) + chunk(whole), chunk(b" " * 4096)))),
    "endless-chunks-of-a-byte": Hostile(at([JWKS], endless(
        lambda whole: head(CHUNKED) + chunk(whole), chunk(b" ") * 4096))),
    "endless-headers": discovery(endless(lambda _: head()[:-2], b"x-more: " + b"x" * 8000 + b"\r\n")),
    "endless-interim": discovery(endless(lambda _: b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
    "endless-trailers": Hostile(at([JWKS], endless(
        lambda whole: head(CHUNKED) + chunk(whole) + b"0\r\n", b"x-more: x\r\n" * 100))),
    "chunks-unended": Hostile(at([JWKS], unended)),
    "bomb": Hostile(at([JWKS], bomb(1024))),
    # Within the bound of a document, as long as it is packed.
    "bomb-small": Hostile(at([JWKS], bomb(200))),
    "bomb-discovery": discovery(bomb(200)),
    "many-keys": keys(many),
    "nested": keys(nested),
    "wrong-issuer": discovery(answered(lambda r, _: r.metadata(issuer="https://login.example.com"))),
    "issuer-with-slash": discovery(answered(lambda r, _: r.metadata(issuer=r.url + "/"))),
    "no-issuer": discovery(answered(lambda r, _: {n: v for n, v in r.metadata().items() if n != "issuer"})),
    "not-json": keys(b'{"keys": [' + json.dumps(published()["keys"][0]).encode()),
    "empty": keys(b""),
    "text-html": Hostile(at([JWKS], answered(published(), kind="text/html"))),
    "status-500": Hostile(at([JWKS], answered(published(), status="500 Oops"))),
    "not-http": discovery(lambda e, r, d: e.raw(json.dumps(offered(r, d)).encode())),
    "truncated": Hostile(at([JWKS], truncated)),
    "reset": Hostile(at([JWKS], reset)),
    "silent": discovery(silent),
    "dripped": Hostile(at([JWKS], dripped)),
    "shared-secret": keys({"keys": [{"kty": "oct", "k": b64(SECRET.removeprefix("text:").encode()),
                                     "alg": "HS256", "kid": "k1"}]}, shared(SECRET)),
    "public-key-as-secret": keys(rsa_key("rs-1", "HS256"), shared("pem-of:rs-1")),
    "algorithm-none": keys(published(alg="none"), unsigned),
    "short-rsa-key": keys(rsa_key("short", "RS256"), factored, keeps=False, reasons=(DEGRADED, UNSIGNED)),
    "private-key": keys(private()),
    # The honest key, the intruder's under the same name, and one that nobody signs with.
    "duplicate-key-ids": Hostile(at([JWKS], answered(lambda r, _: {"keys": [
        KEYS.jwk("k1", alg="ES256"), *published()["keys"], KEYS.jwk("es-1", alg="ES256")]})),
        keeps=False, reasons=(UNKNOWN,)),
}
