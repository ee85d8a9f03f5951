"""A Prefect server on this machine, a process worker, and what one asks them; everything is ended by its
process id. Nothing here imports Prefect: it runs from a venv of its own."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

from world import CACHE, PATIENCE, REPOSITORY, free_port, until

BIN = CACHE / "prefect/bin"
PACKAGE = REPOSITORY / "orchestrator/prefect"
POOL = "vaultgate"
# Longest time for a run, or a process of Prefect to start, on a busy machine.
LONG = 180.0


class Prefect:
    """A server with a folder of its own."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-prefect-"))
        self.workers = []
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/api"
        # Nothing of a profile of whoever runs this, and nothing told to anybody.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.env = {**clean, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(PACKAGE),
                    "PREFECT_HOME": str(self.folder / "home"), "PREFECT_API_URL": self.api,
                    "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_CLI_PROMPT": "false",
                    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PREFECT_WORKER_QUERY_SECONDS": "1",
                    "NO_PROXY": "127.0.0.1,localhost"}
        began = time.monotonic()
        log = open(self.folder / "server.out", "wb")
        self.server = subprocess.Popen(
            [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        log.close()
        try:
            until("the server", self._up, LONG)
        except BaseException:
            self.stop()
            raise
        self.took = time.monotonic() - began

    def _up(self):
        if self.server.poll() is not None:
            raise AssertionError((self.folder / "server.out").read_text(errors="replace")[-3000:])
        try:
            return self.ask("GET", "/health")
        except (OSError, ValueError):
            return None

    def ask(self, method, path, body=None):
        """An answer of the API, which has to be a good one."""
        text = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, text, {"content-type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with opener.open(request, timeout=PATIENCE) as answer:
                    read = answer.read()
                return json.loads(read) if read else None
            except urllib.error.HTTPError as error:
                told = error.read()[:1000]
                # Its database is busy: its own clients ask again, too.
                if error.code != 503 or time.monotonic() > end:
                    raise AssertionError(f"{method} {path}: {error.code} {told!r}") from None
                time.sleep(0.2)

    def does(self, *words, folder):
        """A command in a folder: of Prefect's, or of a file there."""
        done = subprocess.run([str(word) for word in words], cwd=folder, env=self.env, capture_output=True, text=True,
                              check=False, timeout=LONG, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def deployed(self, folder, name, automations=True):
        """Deploys what was exported into a folder, as an operator would; the deployment."""
        self.does("sh", "limits.sh", folder=folder)
        self.does("prefect", "--no-prompt", "deploy", "--all", folder=folder)
        if automations:
            for old in self.ask("POST", "/automations/filter", {}):
                self.ask("DELETE", f"/automations/{old['id']}")
            self.does("prefect", "automation", "create", "--from-file", "automations.yaml", folder=folder)
        return self.ask("GET", f"/deployments/name/backup-region/{name}")

    def worker(self, env):
        """A worker with its own environment, which takes runs."""
        path = self.folder / f"worker-{len(self.workers)}.out"
        log = open(path, "wb")
        worker = subprocess.Popen([BIN / "prefect", "worker", "start", "--pool", POOL, "--type", "process"],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**self.env, **env},
                                  cwd=self.folder)
        log.close()
        self.workers.append(worker)

        def up():
            told = path.read_text(errors="replace")
            if worker.poll() is not None:
                raise AssertionError(told[-3000:])
            return "started!" in told

        until("the worker", up, LONG)
        return worker

    def end_worker(self, worker):
        """Asks it to end, twice where it waits for something, and makes sure."""
        for how in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            if worker.poll() is not None:
                return
            worker.send_signal(how)
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                pass

    def run(self, deployment, slot=None, **parameters):
        """A run of a deployment; with `slot` one that was due then, as the scheduler makes it."""
        details = {"scheduled_time": slot} if slot else {}
        state = {"type": "SCHEDULED", "state_details": details}
        return self.ask("POST", f"/deployments/{deployment['id']}/create_flow_run",
                        {"state": state, "parameters": parameters, "idempotency_key": str(uuid.uuid4())})["id"]

    def found(self, run):
        return self.ask("GET", f"/flow_runs/{run}")

    def reaches(self, run, *names, patience=LONG):
        """Waits until a run is in a state of one of these names; in another last state it fails."""
        def there():
            state = self.found(run)["state"]
            if state["name"] in names:
                return state
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                raise AssertionError(f"{run} is {state['name']}: {state['message']}\n{self.logs(run)}")
            return None

        try:
            return until(f"{run}: {names}", there, patience)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.found(run)['state']}\n{self.logs(run)}") from None

    def logs(self, run):
        found = self.ask("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200,
                                                  "sort": "TIMESTAMP_ASC"})
        return "\n".join(one["message"] for one in found)

    def names(self, run):
        """The names of the states that a run went through."""
        return [one["name"] for one in self.ask("GET", f"/flow_run_states/?flow_run_id={run}")]

    def runs(self, deployment):
        return self.ask("POST", "/flow_runs/filter", {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}})

    def stop(self):
        for worker in self.workers:
            self.end_worker(worker)
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGINT)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        if not os.environ.get("VAULTGATE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


def process_of(run):
    """The process of a run, by what its environment says."""
    wanted = f"PREFECT__FLOW_RUN_ID={run}".encode()
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:
            continue
    return None


def rss(pid):
    """Megabytes of memory of a process."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0
