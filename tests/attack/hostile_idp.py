"""An identity provider on loopback that can be down, slow, hostile, or change its keys.

Each path below the root is a realm: an issuer of its own, with its own keys, its own trouble
and its own count of what was fetched. What the trouble does to an answer is in
`hostile_answers.py`.
"""

import json
import socketserver
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler

from cryptography.hazmat.primitives.asymmetric import ec

from issuer import Keys, b64

AUDIENCE = "api://vaultgate"
# The shortest that a configuration may ask for.
COOLDOWN = 1
DISCOVERY = ".well-known/openid-configuration"
# Keys take time to make, and any realm may sign with any of them.
KEYS = Keys()


def key(name):
    """Makes the key of this name, if there is none yet."""
    if name not in KEYS.keys:
        KEYS.keys[name] = ec.generate_private_key(ec.SECP256R1())
    return name


class Realm:
    """One issuer: what it publishes, and what is wrong with it."""

    def __init__(self, idp, name, settings=""):
        self.idp, self.name, self.settings = idp, name, settings
        self.url = f"{idp.root}/{name}"
        self.publish("k1")
        # Given the exchange and this realm: answers instead of the honest document.
        self.trouble = None
        # The `Date` of its answers, where it is not the time.
        self.date = None
        # When which document was asked for.
        self.fetched = []

    def publish(self, *names):
        """Publishes the keys of these names, and no others; each is its own key id."""
        self.keys = [KEYS.jwk(key(name), alg="ES256", use="sig") for name in names]

    def metadata(self, **more):
        return {
            "issuer": self.url, "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/auth", "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"], **more,
        }

    def document(self, name):
        """The honest one."""
        return self.metadata() if name == DISCOVERY else {"keys": self.keys}

    def token(self, key_name, kid=None, signature=None, header=(), **claims):
        """An access token, good unless a claim or the header says otherwise; `None` drops one."""
        now = int(time.time())
        given = {"iss": self.url, "aud": AUDIENCE, "sub": f"caller-of-{self.name}",
                 "client_id": "operator", "roles": ["backup.operator"], "iat": now,
                 "exp": now + 600, "jti": str(uuid.uuid4()), **claims}
        given = {name: value for name, value in given.items() if value is not None}
        head = {"alg": "ES256", "typ": "at+jwt", "kid": kid or key_name, **dict(header)}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, given)).encode()
        made = signature(signed) if signature else KEYS.sign("ES256", key(key_name), signed)
        return f"{signed.decode()}.{b64(made)}"

    def fetches(self, document, begin=0.0, end=float("inf")):
        """When this document was asked for between two instants."""
        return [at for at, name in list(self.fetched) if name == document and begin <= at < end]

    def table(self):
        """The gateway's configuration of this issuer."""
        return f"""
[[issuer]]
name = "{self.name}"
preset = "generic"
issuer = "{self.url}"
audiences = ["{AUDIENCE}"]
algorithms = ["ES256", "RS256"]
allow_insecure_loopback = true
jwks_cooldown = "{COOLDOWN}s"
kind = "human"
{self.settings}
"""


class Exchange(BaseHTTPRequestHandler):
    """One request for a document."""

    idp = None

    def do_GET(self):
        self.idp.asked.append(self.path)
        _, name, *rest = self.path.split("/")
        realm, document = self.idp.realms.get(name), "/".join(rest)
        self.idp.going.append(self.path)
        try:
            if realm is None:
                self.send_error(404)
                return
            realm.fetched.append((time.monotonic(), document))
            if realm.trouble is None or not realm.trouble(self, realm, document):
                self.give(realm.document(document), date=realm.date)
        except OSError:
            pass  # the gateway went away, which is right in nearly all trouble
        finally:
            self.idp.going.remove(self.path)

    def give(self, document, kind="application/json", date=None, status="200 OK", **headers):
        """A whole answer; `document` is bytes or becomes JSON."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        fields = {"content-type": kind, "date": date, "content-length": len(body),
                  "connection": "close", **{n.replace("_", "-"): v for n, v in headers.items()}}
        lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
        self.raw("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body)

    def raw(self, data):
        self.wfile.write(data)

    def elsewhere(self):
        """The root of an origin that the gateway has no reason to call."""
        return self.idp.canary.root

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        error = sys.exception()
        if not isinstance(error, OSError):
            raise error


class Idp:
    """All realms on one port; with `canary`, another origin beside it that nobody may call."""

    def __init__(self, port=0, up=True, canary=True):
        self.realms, self.server = {}, None
        # Every path that was asked for, and those whose answers have not ended.
        self.asked, self.going = [], []
        self.port = port
        self.canary = Idp(canary=False) if canary else None
        if up:
            self.up()
        self.root = f"http://127.0.0.1:{self.port}"

    def realm(self, name, settings=""):
        self.realms[name] = Realm(self, name, settings)
        return self.realms[name]

    def tables(self):
        return "".join(realm.table() for realm in self.realms.values())

    def up(self):
        handler = type("Handler", (Exchange,), {"idp": self})
        self.server = Server(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        # A short poll: `down` waits for it.
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.down()
        if self.canary:
            self.canary.down()

    def down(self):
        """From here on connections are refused."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
