"""A token issuer on loopback whose keys the test holds, and which can misbehave.

Each path below the root is an issuer of its own with its own discovery document and key
set: the gateway keeps key sets, so a case that needs a broken one gets a fresh issuer.
"""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

DELETE = object()
# Issuers that misbehave; `main` and `second` do not.
NAMES = ["main", "second", "duplicate", "garbage", "hang", "mismatch", "huge"]


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Keys:
    """The private keys, by the names that the corpus uses."""

    def __init__(self):
        curve, names = ec.SECP256R1(), ("es-1", "attacker-es", "issuer2-es")
        self.keys = {name: ec.generate_private_key(curve) for name in names}
        for name in ("rs-1", "enc-1", "ops-1"):
            self.keys[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self, name, **more):
        public = self.keys[name].public_key()
        numbers = public.public_numbers()
        if isinstance(public, ec.EllipticCurvePublicKey):
            shape = {"kty": "EC", "crv": "P-256", "x": number(numbers.x, 32), "y": number(numbers.y, 32)}
        else:
            shape = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        return {**shape, "kid": name, **more}

    def public(self, name, encoding):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.keys[name].public_key().public_bytes(encoding, form)

    def sign(self, algorithm, key, signed):
        """A signature; for HMAC the key may be made of a public one."""
        if algorithm.startswith("HS"):
            return hmac.new(self.secret(key), signed, hashlib.sha256).digest()
        private = self.keys[key]
        if isinstance(private, rsa.RSAPrivateKey):
            how = padding.PKCS1v15()
            if algorithm.startswith("PS"):
                how = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            return private.sign(signed, how, hashes.SHA256())
        r, s = decode_dss_signature(private.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def der(self, signed):
        return self.keys["es-1"].sign(signed, ec.ECDSA(hashes.SHA256()))

    def secret(self, key):
        kind, _, name = key.partition(":")
        pem = serialization.Encoding.PEM
        return {
            "der-of": lambda: self.public(name, serialization.Encoding.DER),
            "pem-of": lambda: self.public(name, pem),
            "pem-nonl-of": lambda: self.public(name, pem).rstrip(b"\n"),
            "hex": lambda: bytes.fromhex(name),
            "text": name.encode,
        }[kind]()


class Issuers:
    """All of them on one port."""

    def __init__(self):
        self.keys = Keys()
        self.release = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name):
        return f"{self.root}/{name}"

    def stop(self):
        self.release.set()
        self.server.shutdown()

    def answer(self, request):
        _, name, *rest = request.path.split("/")
        if name in NAMES and rest == [".well-known", "openid-configuration"]:
            issuer = "https://evil.example" if name == "mismatch" else self.url(name)
            body = {
                "issuer": issuer, "jwks_uri": f"{self.url(name)}/jwks",
                "authorization_endpoint": f"{self.url(name)}/auth",
                "token_endpoint": f"{self.url(name)}/token", "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            }
        elif name in NAMES and rest == ["jwks"]:
            if name == "hang":
                self.release.wait(120)
            body = {"keys": self.key_set(name)}
        else:
            request.send_error(404)
            return
        data = json.dumps(body).encode()
        if name == "huge" and rest == ["jwks"]:
            data = data[:-1] + b" " * (10 << 20) + b"}"
        try:
            request.send_response(200)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)
        except OSError:
            pass  # a gateway that stops reading is what some cases want

    def key_set(self, name):
        signing = {"use": "sig"}
        if name == "second":
            return [self.keys.jwk("issuer2-es", alg="ES256", kid="es-1", **signing)]
        good = [
            self.keys.jwk("es-1", alg="ES256", **signing),
            self.keys.jwk("rs-1", alg="RS256", **signing),
            self.keys.jwk("enc-1", alg="RSA-OAEP", use="enc"),
            self.keys.jwk("ops-1", alg="RS256", key_ops=["encrypt"]),
        ]
        if name == "duplicate":
            good.insert(1, self.keys.jwk("attacker-es", alg="ES256", kid="es-1", **signing))
        if name == "garbage":
            good.insert(0, {"kty": "EC", "crv": "P-256", "x": "!", "y": 7, "kid": "bad"})
        return good


# --- a token from a case -------------------------------------------------------------

class Mint:
    """Writes the token that a case describes."""

    def __init__(self, base, keys, issuer, audience, canary):
        self.base, self.keys = base, keys
        self.words = {"ISS": issuer, "AUD": audience, "CANARY": str(canary)}

    def value(self, given):
        """A member with the corpus's `$` words written out."""
        if isinstance(given, dict):
            return {name: self.value(one) for name, one in given.items()}
        if isinstance(given, list):
            return [self.value(one) for one in given]
        if not isinstance(given, str) or "$" not in given:
            return given
        if given == "$DEL":
            return DELETE
        moment = re.fullmatch(r"\$NOW(MS)?([+-][\d.]+)?", given)
        if moment:
            base = int(time.time() * (1000 if moment[1] else 1))
            added = moment[2] or "0"
            return base + (float(added) if "." in added else int(added))
        if given == "$UUID":
            return str(uuid.uuid4())
        if given.startswith("$REPEAT:"):
            _, text, count = given.split(":")
            return text * int(count)
        if given.startswith("$JWK:"):
            _, name, kid = given.split(":")
            return self.keys.jwk(name, alg="ES256", use="sig", kid=kid.removeprefix("kid="))
        return self.text(given)

    def text(self, given):
        """Words inside a longer text; `$NOW+300` stays a number there."""
        given = re.sub(r"\$NOW([+-]\d+)?", lambda m: str(int(time.time()) + int(m[1] or 0)), given)
        for word, value in self.words.items():
            given = given.replace(f"${word}UPPER", value.upper()).replace(f"${word}", value)
        return given

    def patched(self, base, patch):
        merged = {**base, **(patch or {})}
        return {n: v for n, v in ((n, self.value(v)) for n, v in merged.items()) if v is not DELETE}

    def token(self, case):
        raw, sign = case.get("raw", {}), case.get("sign", {})
        if raw.get("parts") == 5:
            return ".".join([b64(json.dumps(raw["header"]).encode())] + [b64(b"0" * 16)] * 4)
        header = self.patched(self.base["header"], case.get("header"))
        claims = case.get("claims") or {}
        nested = next((v for v in claims.values() if str(v).startswith("$NEST:")), None)
        plain = {name: value for name, value in claims.items() if value is not nested or nested is None}
        payload = json.dumps(self.patched(self.base["claims"], plain)).encode()
        if nested:
            depth = int(nested.split(":")[1])
            payload = payload[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
        head = json.dumps(header).encode()
        if "header_json" in raw:
            head = self.text(raw["header_json"]).encode()
        if "payload_json" in raw:
            payload = self.text(raw["payload_json"]).encode()
        payload = bytes.fromhex(raw.get("payload_prefix_hex", "")) + payload
        payload += raw.get("payload_suffix", "").encode()
        signed = f"{b64(head)}.{b64(payload)}".encode()
        return self.transform(raw.get("transform", ""), signed, self.signature(sign, header, signed))

    def signature(self, sign, header, signed):
        how = sign.get("sig")
        if how == "empty":
            return b""
        if how == "zeros":
            return bytes(64)
        if how == "der":
            return self.keys.der(signed)
        key = sign.get("key") or header.get("kid") or "es-1"
        algorithm = sign.get("alg") or ("RS256" if key in ("rs-1", "enc-1", "ops-1") else "ES256")
        known = key in self.keys.keys or ":" in key
        return self.keys.sign(algorithm, key if known else "es-1", signed)

    def transform(self, how, signed, signature):
        head, payload = signed.decode().split(".")
        last = b64(signature)
        name, _, change = how.partition(":")
        if name == "drop-third-part":
            return f"{head}.{payload}"
        if name == "pad-parts":
            return ".".join(part + "=" * (-len(part) % 4 or 4) for part in (head, payload, last))
        if name in ("replace-payload", "replace-header"):
            member, value = change.split("=")
            old = payload if name == "replace-payload" else head
            document = json.loads(base64.urlsafe_b64decode(old + "=" * (-len(old) % 4)))
            document[member] = value
            new = b64(json.dumps(document).encode())
            return f"{head}.{new}.{last}" if name == "replace-payload" else f"{new}.{payload}.{last}"
        assert not how, f"unknown transform {how}"
        return f"{head}.{payload}.{last}"
