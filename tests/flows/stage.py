"""A gateway with a reviewed flow in its policy, and the real orchestrator beside it."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from world import REPOSITORY, UNLIMITED, World, program  # noqa: E402

PROD = "22222222-2222-2222-2222-222222222222"
VAULT = f"/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1"
# The emulator's flow persona names this flow.
FLOW = "nightly-weu"
DEFINITION = """version: 1
flow: nightly-weu
owner: backup@contoso.com
gateway: {{ url: "{url}", identity: nightly }}
defaults:
  poll: {{ first: 1s, max: 2s }}
  retry: {{ attempts: 20, first: 1s, cap: 2s }}
  deadline: {{ start_within: 5m, finish_within: 20m }}
regions:
  westeurope:
    schedule: {{ cron: "30 2 * * *", timezone: Europe/Amsterdam }}
    parallel: {parallel}
    targets:
      - vault: 22222222-2222-2222-2222-222222222222/rg1/v1
        items: [{items}]
"""
CONFIG = """flows = "flows"
journal = {journal}

[gateway]
url = "{url}"
ca = "{ca}"

[[identity]]
name = "nightly"
credential = "client-secret"
token_url = "{issuer}/token"
client_id = "flow"
scope = "api://vaultgate/.default"
secret_file = "flow.secret"
"""


def item(name):
    names = f"iaasvmcontainerv2;rg1;{name}"
    return f"{VAULT}/backupFabrics/Azure/protectionContainers/IaasVMContainer;{names}/protectedItems/VM;{names}"


class Stage:
    """A world, a folder with the orchestrator's files, and what it said."""

    def __init__(self, items='"vm:rg1/vm*"', parallel=4, time_scale=4.0, settings=None, notify="", channels="", server=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-flows-"))
        self.policies = self.folder / "policies"
        shutil.copytree(REPOSITORY / "policies", self.policies)
        # No definition yet: the gateway's address is only known once it runs.
        if settings:
            path = self.policies / "vaultgate/settings/data.json"
            path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **settings}), encoding="utf-8")
        console = (REPOSITORY / "tests/data/console.toml").read_text(encoding="utf-8")
        self.world = World.start(policies=self.policies, time_scale=time_scale, extra=UNLIMITED + console)
        self.text = DEFINITION.format(url=self.world.url, items=items, parallel=parallel) + notify
        (self.folder / "flows").mkdir()
        self.file = self.folder / "flows/nightly.yaml"
        self.file.write_text(self.text, encoding="utf-8")
        self.review()
        (self.folder / "flow.secret").write_text("flow-secret\n", encoding="utf-8")
        journal = '"orchestrator.db"'
        if server:
            (self.folder / "journal.url").write_text(server + "\n", encoding="utf-8")
            journal = '{ postgres_file = "journal.url" }'
        self.config = self.folder / "orchestrator.toml"
        self.config.write_text(CONFIG.format(journal=journal, url=self.world.url, ca=self.world.ca,
                                             issuer=self.world.env["SIM_ISSUER_OIDC"]) + channels, encoding="utf-8")

    def review(self):
        """The definition as it is now is what policy knows."""
        self.does("export", "policy-data", self.file, "--bundle", self.policies, config=False)
        self.world.stop_gateway()
        self.world.start_gateway()

    def command(self, *words, config=True):
        command = [program("vaultgate-orchestrator"), *map(str, words)]
        return command + (["--config", str(self.config)] if config else [])

    def does(self, *words, code=0, config=True, patience=120):
        done = subprocess.run(self.command(*words, config=config), capture_output=True, text=True, check=False,
                              timeout=patience, env={**os.environ, "RUST_LOG": "warn"})
        if code is not None and done.returncode != code:
            raise AssertionError(f"{words}: {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        return done.stdout

    def explained(self, run):
        return json.loads(self.does("explain", run))

    def asks(self, person, method, path, body=None, status=200):
        """What somebody is told at the door of people."""
        world = self.world
        token = world.token(person, audience="api://vaultgate-console", lifetime=120,
                            claims={"auth_time": int(time.time()), "acr": "urn:example:mfa"})
        parts = urllib.parse.urlsplit(world.env["VAULTGATE_CONSOLE_URL"])
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=world.context(), timeout=30)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request(method, path, body=body and json.dumps(body), headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != status:
            raise AssertionError(f"{method} {path}: {answer.status}, not {status}: {text[:600]!r}")
        return json.loads(text)

    def answers(self, approval, verb):
        """People answer an approval."""
        path = f"/_vaultgate/v1/approvals/{approval}"
        digest = self.asks("approver-a", "GET", path)["digest"]
        self.asks("approver-a", "POST", f"{path}/{verb}", {"digest": digest, "reason": "seen"})

    def backups(self):
        """What reached Azure: POSTs of backups, by item in lower case."""
        found = {}
        for entry in self.world.forwarded():
            path = urllib.parse.unquote(entry["path"].partition("?")[0])
            if entry["method"] == "POST" and path.lower().endswith("/backup"):
                found.setdefault(path[:-len("/backup")].lower(), []).append(entry)
        return found

    def stop(self):
        self.world.stop()
        if not os.environ.get("VAULTGATE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
