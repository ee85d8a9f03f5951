"""Gateways with something large about them: a long log, many callers, wide limits."""
import base64
import json
import os
import pathlib
import subprocess
import sys
import time

from gateway import Gateway, target
from stage import MEASURING, ROOT, free_port

# The same limits as elsewhere, and room for what grows here.
ROOM = """
[limits]
max_keys = 300000

[limits.activity]
max_principals = 300000
max_vaults = 300000
"""


def limits():
    """Limits that these runs do not meet."""
    text = (pathlib.Path(ROOT) / "tests/data/unlimited.toml").read_text(encoding="utf-8")
    head, _, _ = text.partition("[limits.connections]")
    return head + "[limits.connections]\nper_address = 20000\ntotal = 20000\n" + ROOM


class Scene:
    """A stage with a fixed upstream, on which gateways are started."""

    def __init__(self, stage, binaries):
        self.stage, self.binaries = stage, binaries
        self.port = free_port()
        self.upstream = None
        self.limits = stage.write("limits.toml", limits())

    def gateway(self, name, folder=None, policies=None):
        """A gateway, and how long its start took."""
        began = time.monotonic()
        found = Gateway(self.stage, self.binaries, name, f"https://localhost:{self.port}",
                        extra=self.limits, folder=folder, unlimited=False, policies=policies)
        took = time.monotonic() - began
        if not self.upstream:
            self.upstream = self.stage.start("upstream", [
                self.bench(), "upstream", "--listen", f"127.0.0.1:{self.port}",
                "--cert", found.cert, "--key", found.key], MEASURING)
            self.stage.wait_for_port(self.port, self.upstream)
        return found, took

    def bench(self):
        return os.path.join(self.binaries, "vaultgate-bench")

    def tool(self, *words):
        done = subprocess.run([self.bench(), *map(str, words)], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"vaultgate-bench {words[0]}: {done.stderr.strip()}")


def denials(gateway, most=5):
    """What the log says of requests that were denied: why a load met refusals."""
    found = []
    for path in sorted(pathlib.Path(gateway.env["VAULTGATE_LOG_DIR"], "segments").glob("*.jsonl")):
        with open(path, "rb") as lines:
            for line in lines:
                if b'"verdict":"deny"' in line and len(found) < most:
                    record = json.loads(line)
                    record.pop("input", None)
                    found.append(json.dumps(record))
    return found


def template(gateway):
    """A decision and its outcome, as this gateway writes them."""
    if gateway.send(target(), gateway.token) != 200:
        sys.exit("the gateway refuses the request that is to be copied")
    decision, found = None, {}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for path in sorted(pathlib.Path(gateway.env["VAULTGATE_LOG_DIR"], "segments").glob("*.jsonl")):
            for line in path.read_bytes().rstrip(b"\0").split(b"\n"):
                record = json.loads(line) if line.endswith(b"}") else {}
                if record.get("kind") == "decision":
                    decision, found = record["id"], {"decision": line}
                elif record.get("kind") == "outcome" and record.get("decision") == decision:
                    found["outcome"] = line
        if len(found) == 2:
            return b"\n".join((found["decision"], found["outcome"])).decode()
        time.sleep(0.05)
    sys.exit("the gateway wrote no decision with its outcome")


def filled(scene, name, size):
    """A gateway on a log of `size` records, and how long it took to start on it."""
    first, _ = scene.gateway(name)
    copied = scene.stage.write(f"{name}.template", template(first))
    first.stop()
    scene.tool("fill", "--dir", os.path.join(first.folder, "log"), "--key",
               os.path.join(first.folder, "log.key"), "--origin", "vaultgate.example/demo",
               "--size", size, "--template", copied)
    return scene.gateway(name, folder=first.folder)


def tokens(scene, gateway, count):
    """Tokens of `count` principals of the generic issuer (ES256: quickly minted)."""
    like = scene.stage.write(f"{gateway.name}.like", gateway.env["TOKEN_READER"])
    head = json.loads(_decoded(gateway.env["TOKEN_READER"].split(".")[0]))
    private = gateway.control("GET", "keys")[head["kid"]]["private_pem"]
    key = scene.stage.write(f"{gateway.name}.pem", private)
    out = scene.stage.path(f"{gateway.name}.tokens")
    scene.tool("mint", "--key", key, "--like", like, "--count", count, "--out", out)
    return out


def _decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
