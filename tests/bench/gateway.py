"""The gateway under measurement: the demo brings certificates, identities and tokens;
Azure itself is replaced by the fixed upstream, so that all targets wait for the same."""
import base64
import http.client
import json
import os
import ssl
import sys
import urllib.parse

from stage import MEASURED, until

SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
AUDIENCE = "api://vaultgate"
# Tokens outlive the longest run.
LIFETIME = 8 * 3600


def target(vault="v1"):
    """A read that the shipped policy allows."""
    return (f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.RecoveryServices"
            f"/vaults/{vault}/backupJobs?api-version=2026-08-01")


def read_env(path):
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)


class Gateway:
    """A gateway that runs, with an identity provider of its own."""

    def __init__(self, stage, binaries, name="vaultgate", upstream=None, policies=None, extra=None,
                 folder=None, unlimited=True):
        self.stage, self.name = stage, name
        self.folder = folder or stage.path(name)
        env_file = stage.path(f"{name}.env")
        if os.path.exists(env_file):
            os.unlink(env_file)
        command = [os.path.join(binaries, "vaultgate-demo"), "--env-file", env_file, "--seconds",
                   "14400", "--quiet", "--dir", self.folder,
                   "--gateway", os.path.join(binaries, "vaultgate")]
        for option, value in (("--arm-endpoint", upstream), ("--policies", policies),
                              ("--extra-config", extra)):
            command += [option, value] if value else []
        command += ["--unlimited"] if unlimited else []
        self.demo = stage.start(f"{name}-demo", command, MEASURED)

        def ready():
            if self.demo.poll() is not None:
                sys.exit(f"the demo ended with {self.demo.returncode}:\n{stage.said(self.demo)}")
            return os.path.exists(env_file)

        until("the gateway", ready)
        self.env = read_env(env_file)
        self.url = self.env["VAULTGATE_URL"]
        self.pid = int(self.env["VAULTGATE_PID"])
        self.issuer = self.env["SIM_IDP_ISSUER_ENTRA"]
        self.cert, self.key, self.ca = (
            self.env["VAULTGATE_CERT"], self.env["VAULTGATE_KEY"], self.env["VAULTGATE_CA"])
        self.token = self.mint()
        self.token_file = stage.write(f"{name}.token", self.token)

    def stop(self):
        self.stage.end(self.demo)

    def control(self, method, name, body=None):
        parts = urllib.parse.urlsplit(self.env["SIM_CONTROL_URL"])
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30,
                                                     context=ssl.create_default_context(cafile=self.ca))
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            connection.request(method, f"/_sim/{name}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            sys.exit(f"the emulator refused {method} {name}: {text[:300]!r}")
        return json.loads(text)

    def mint(self, persona="reader", issuer="entra"):
        """A token like those of Entra: RS256, some 1.2 KB."""
        wanted = {"persona": persona, "issuer": issuer, "lifetime": LIFETIME}
        return self.control("POST", "token", wanted)["access_token"]

    def jwks(self):
        """The keys as the issuer publishes them."""
        issuer = urllib.parse.urlsplit(self.issuer)
        path = f"/{issuer.path.split('/')[1]}/discovery/v2.0/keys"
        connection = http.client.HTTPSConnection(
            issuer.hostname, issuer.port, timeout=30,
            context=ssl.create_default_context(cafile=self.ca))
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def metrics(self):
        """Metrics by name, histograms as their sum and count."""
        parts = urllib.parse.urlsplit(self.env["VAULTGATE_ADMIN_URL"])
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        found = {}
        for line in lines:
            if not line.startswith("#") and "{" not in line:
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def send(self, path, token=None):
        """The status of one request."""
        return ask(self.url + path, self.ca, token)


def ask(url, ca, token=None):
    """The status of one GET over TLS."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30,
                                             context=ssl.create_default_context(cafile=ca))
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def badly_signed(token):
    """The same token with another signature of the right length."""
    head, payload, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[len(raw) // 2] ^= 1
    other = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    return ".".join((head, payload, other))
