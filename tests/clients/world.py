"""The real gateway beside the emulator, for tests that are not written in Rust.

`World.start()` runs both executables on free ports in a folder of its own and ends them
by their process ids; `World.at(env_file)` uses a pair that `cargo demo` runs. Whoever
waits here waits for a line or a file, never for a time. Needs nothing but Python.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("VAULTGATE_CACHE", pathlib.Path.home() / ".cache/vaultgate"))
TENANT = "11111111-1111-1111-1111-111111111111"
PROD = "22222222-2222-2222-2222-222222222222"
CORPUS = "00000000-0000-0000-0000-000000000001"
VAULT = f"/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1"
API = "api-version=2026-08-01"
# Longest time that one step may take on a busy machine.
PATIENCE = 60.0

# Limits that a test which is not about limits does not meet.
UNLIMITED = (REPOSITORY / "tests/data/unlimited.toml").read_text(encoding="utf-8")


def item(name, vault=VAULT):
    """Path of a virtual machine's protected item."""
    inner = f"iaasvmcontainerv2%3Brg1%3B{name}"
    container = f"{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer%3B{inner}"
    return f"{container}/protectedItems/VM%3B{inner}"


def program(name):
    """An executable of this repository: built, named by the environment, or an error."""
    named = os.environ.get(name.upper().replace("-", "_") + "_BIN")
    target = os.environ.get("CARGO_TARGET_DIR")
    folders = [target] if target else [CACHE / "target", REPOSITORY / "target"]
    built = [pathlib.Path(folder) / "debug" / name for folder in folders]
    for path in [pathlib.Path(named)] if named else built:
        if path.is_file():
            return path
    raise SystemExit(f"`{name}` is not built: cargo build -p vaultgate -p vaultgate-sim")


def free_port():
    """A free port below those that outgoing connections take."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass  # somebody has it


def until(what, check, patience=PATIENCE):
    """Asks `check` until it answers with something; fails loudly after `patience`."""
    end = time.monotonic() + patience
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience:.0f} s for {what}")
        time.sleep(0.02)


def read_env(path):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


class Answer:
    """A whole answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def header(self, name):
        return self.headers.get(name)

    def reason(self):
        """The stable reason of a refusal."""
        try:
            return self.json()["error"]["additionalInfo"][0]["info"]["reason"]
        except (ValueError, KeyError, IndexError, TypeError):
            return None

    def __repr__(self):
        return f"{self.status} {self.body[:600]!r}"


class World:
    """A gateway and an emulator that run."""

    def __init__(self, env, folder=None):
        self.env = env
        self.folder = folder
        self.sim = None
        self.gateway = None
        self.console = None
        self.tls = None
        # What the gateway's environment has besides this one's: a shim, say.
        self.environment = {}

    # --- beginning and end -----------------------------------------------------

    @classmethod
    def at(cls, env_file):
        """The pair whose addresses stand in `env_file`."""
        return cls(read_env(env_file))

    @classmethod
    def start(cls, policies=None, extra="", replace=(), time_scale=4.0, data=None):
        """A pair of its own. `data` puts the gateway's files into another folder."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-"))
        world = cls({}, folder)
        try:
            world.start_emulator(time_scale)
            world.write_config(policies, extra, replace, pathlib.Path(data or folder))
            world.start_gateway()
        except BaseException:
            world.stop()
            raise
        return world

    @classmethod
    def between(cls, front, extra="", replace=()):
        """A pair with somebody in between: `front(certificate, key, emulator)` has a `url`,
        which the gateway takes for Azure Resource Manager's."""
        world = cls({}, pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-")))
        try:
            world.start_emulator(4.0)
            own = pathlib.Path(world.env["SIM_CA"]).parent
            azure = world.env["SIM_AZURE_URL"]
            world.front = front(own / "localhost.pem", own / "localhost.key", azure)
            address = (f'resource_manager = "{azure}"', f'resource_manager = "{world.front.url}"')
            # What Azure answers is judged here, not how soon a crowded disk syncs.
            patient = ("[log]\n", '[log]\nappend_timeout = "20s"\n')
            world.write_config(None, extra, [*replace, address, patient], world.folder)
            world.start_gateway()
        except BaseException:
            world.stop()
            raise
        return world

    def replica(self, name, policies=None, extra="", replace=()):
        """Another gateway before the same emulator, with a log of its own."""
        other = World(dict(self.env), self.folder / name)
        own = ('origin = "vaultgate.example/demo"', f'origin = "vaultgate.example/{name}"')
        other.write_config(policies, extra, [*replace, own], other.folder)
        other.start_gateway()
        return other

    def start_emulator(self, time_scale):
        env_file = self.folder / "sim.env"
        command = [program("vaultgate-sim"), "up", "--dir", self.folder / "sim"]
        command += ["--env-file", env_file, "--time-scale", str(time_scale)]
        log = open(self.folder / "sim.out", "wb")
        self.sim = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

        def up():
            if self.sim.poll() is not None:
                told = (self.folder / "sim.out").read_text(errors="replace")
                raise AssertionError(f"the emulator ended:\n{told}")
            return env_file.is_file()

        until("the emulator", up)
        sim = read_env(env_file)
        self.env.update(sim)
        self.env["SIM_IDP_ISSUER"] = sim["SIM_ISSUER_OIDC"]
        self.env["SIM_IDP_ISSUER_ENTRA"] = sim["SIM_ISSUER_ENTRA"]
        self.env["VAULTGATE_CA"] = sim["SIM_CA"]

    def write_config(self, policies, extra, replace, data):
        """The configuration that demo and tests share, with this world's addresses."""
        port, admin = free_port(), free_port()
        certificates = pathlib.Path(self.env["SIM_CA"]).parent
        values = {
            "DATA_PORT": port,
            "ADMIN_PORT": admin,
            "CERT": certificates / "localhost.pem",
            "KEY": certificates / "localhost.key",
            "CA": self.env["SIM_CA"],
            "SIM_URL": self.env["SIM_AZURE_URL"],
            "ARM_URL": self.env["SIM_AZURE_URL"],
            "ISSUER_OIDC": self.env["SIM_ISSUER_OIDC"],
            "TENANT": TENANT,
            "PROD": PROD,
            "POLICIES": pathlib.Path(policies or REPOSITORY / "policies").resolve(),
        }
        if "@CONSOLE_PORT@" in extra:
            console = free_port()
            extra = extra.replace("@CONSOLE_PORT@", str(console))
            self.env["VAULTGATE_CONSOLE_URL"] = f"https://localhost:{console}"
        text = (REPOSITORY / "tests/data/gateway.toml").read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        for old, new in replace:
            if old not in text:
                raise AssertionError(f"`{old}` is not in the shared configuration")
            text = text.replace(old, new)
        data.mkdir(parents=True, exist_ok=True)
        for identity in ("operator", "reader"):
            (data / f"{identity}.secret").write_text(f"vaultgate-{identity}-secret")
        config = data / "vaultgate.toml"
        config.write_text(text + extra, encoding="utf-8")
        self.env.update(
            VAULTGATE_URL=f"https://localhost:{port}",
            VAULTGATE_ADMIN_URL=f"http://127.0.0.1:{admin}",
            VAULTGATE_CONFIG=str(config),
            VAULTGATE_LOG_DIR=str(data / "log"),
            VAULTGATE_ANCHOR=str(data / "anchor"),
        )

    def start_gateway(self):
        """Starts the gateway and waits for its `ready` line; its console is kept."""
        self.console = open(self.folder / "gateway.out", "ab")
        command = [program("vaultgate"), "serve", "--config", self.env["VAULTGATE_CONFIG"]]
        self.gateway = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.console,
            env={**os.environ, **self.environment},
        )
        ready = threading.Event()
        ended = threading.Event()
        reader = threading.Thread(
            target=self._copy, args=(self.gateway.stdout, self.console, ready, ended), daemon=True
        )
        reader.start()
        until("the gateway", lambda: ready.is_set() or ended.is_set())
        if not ready.is_set():
            self.gateway.wait()
            raise AssertionError(f"the gateway did not start:\n{self.console_text()[-4000:]}")
        public = pathlib.Path(self.env["VAULTGATE_CONFIG"]).parent / "log.key.pub"
        if public.is_file():
            self.env["VAULTGATE_LOG_KEY"] = public.read_text(encoding="utf-8").strip()

    @staticmethod
    def _copy(pipe, file, ready, ended):
        for line in pipe:
            file.write(line)
            file.flush()
            if line.startswith(b"ready "):
                ready.set()
        ended.set()

    def kill_gateway(self):
        """Ends the gateway as a crash would."""
        self.gateway.send_signal(signal.SIGKILL)
        self.gateway.wait()

    def stop_gateway(self):
        """Asks the gateway to end, and waits for it."""
        if self.gateway and self.gateway.poll() is None:
            self.gateway.terminate()
            self.gateway.wait(PATIENCE)

    def stop(self):
        """Ends what this world started. A world of somebody else is left alone."""
        for process in (self.gateway, self.sim):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self.console:
            self.console.close()
        if self.folder and not os.environ.get("VAULTGATE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # --- the gateway -----------------------------------------------------------

    @property
    def url(self):
        return self.env["VAULTGATE_URL"]

    @property
    def ca(self):
        return self.env["VAULTGATE_CA"]

    @property
    def log(self):
        return pathlib.Path(self.env["VAULTGATE_LOG_DIR"])

    def context(self):
        """TLS settings that trust the development authority alone."""
        if self.tls is None:
            self.tls = ssl.create_default_context(cafile=self.ca)
        return self.tls

    def send(self, method, target, token=None, body=None, headers=(), timeout=PATIENCE,
             source=None):
        """One request to the gateway; `target` is a path or a URL of the gateway, `source` an
        address of this machine to come from."""
        parts = urllib.parse.urlsplit(self.url)
        path = target[len(self.url):] if target.startswith(self.url + "/") else target
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, context=self.context(), timeout=timeout,
            source_address=source and (source, 0)
        )
        sent = dict(headers)
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def admin(self, path):
        """An answer of the admin address: `/metrics`, `/healthz` or `/readyz`."""
        parts = urllib.parse.urlsplit(self.env["VAULTGATE_ADMIN_URL"])
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def metrics(self):
        return self.admin("/metrics").body

    def console_text(self):
        """Everything that the gateway has said on both of its outputs."""
        if not self.folder:
            return ""
        return (self.folder / "gateway.out").read_text(encoding="utf-8", errors="replace")

    def records(self):
        """Every whole record of the log so far."""
        found = []
        for path in sorted((self.log / "segments").glob("*.jsonl")):
            # Room behind the last record is zeros; so is what was written while this was read.
            for line in path.read_bytes().partition(b"\0")[0].split(b"\n")[:-1]:
                found.append(json.loads(line))
        return found

    def record(self, identifier, kind="decision"):
        """The record of this id; waits until it is there."""
        def there():
            chosen = [r for r in self.records() if r["id"] == identifier and r["kind"] == kind]
            return chosen[0] if chosen else None

        return until(f"the {kind} {identifier}", there)

    # --- the emulator ----------------------------------------------------------

    def control(self, method, name, body=None):
        """`/_sim/NAME` of the emulator, which is never journaled."""
        parts = urllib.parse.urlsplit(self.env["SIM_CONTROL_URL"])
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/_sim/{name}", body=text)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise AssertionError(f"the emulator refused {method} {name}: {found}")
        return found

    def token(self, persona, **bent):
        """A token of the emulator's generic issuer, unless `bent` says another."""
        request = {"persona": persona, "issuer": "oidc", **bent}
        return self.control("POST", "token", request)["access_token"]

    def journal(self, **wanted):
        query = urllib.parse.urlencode(wanted)
        return self.control("GET", f"journal?{query}" if query else "journal")

    def forwarded(self, **wanted):
        """What reached Azure under the operator identity."""
        return self.journal(identity="operator", surface="arm", **wanted)

    def advance(self, seconds=3600):
        """Winds Azure's clock forward: operations and jobs that are due end."""
        self.control("POST", "time", {"advance_ms": seconds * 1000})

    # --- the judges ------------------------------------------------------------

    def oracle(self, journal=None, also=()):
        """Fails unless everything that reached Azure stands in the log, or in that of one of
        the gateways that are `also` before it."""
        path = journal
        if path is None:
            handle, path = tempfile.mkstemp(suffix=".json")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.journal(), file)
        command = [sys.executable, REPOSITORY / "tests/oracle/oracle.py"]
        command += ["--journal", path]
        for world in (self, *also):
            command += ["--log", world.log]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if journal is None:
            os.unlink(path)
        if done.returncode != 0:
            raise AssertionError(f"the oracle found:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
        return done.stdout.splitlines()[-1]


def options(description):
    """The command line of every program here."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--env-file", help="use the pair that `cargo demo` runs")
    parser.add_argument("only", nargs="*", help="names of tests")
    return parser


def run(name, module="__main__", only=()):
    """Runs a module's tests; the last line says how it went."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{word}*" for word in only] or None
    suite = loader.loadTestsFromModule(sys.modules[module])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    done = result.testsRun - failed - len(result.skipped)
    # A run in which nothing was tried proves nothing.
    fine = failed == 0 and done > 0
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    print(f"{name}: {done} passed, {failed} failed{skipped}")
    return 0 if fine else 1
