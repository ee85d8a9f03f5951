"""Prefect beside the orchestrator: its server, a process worker, and runs of a flow that does nothing and of the
one that backs up the same items through the same gateway."""
import datetime
import hashlib
import statistics
import sys
import threading
import time

from flow_stage import FLOW, GROUP, TESTS, memory, processor, until

sys.path.append(str(TESTS / "clients/prefect"))
try:
    import serving
except ImportError:
    serving = None

# Runs at a time: each is a process of its own, and the machine is small.
RUNS = 8
NOTHING, ITEM = "a flow that does nothing", "runs of one item"
FLOW_OF_NOTHING = """from prefect import flow


@flow
def nothing():
    pass
"""


class Absent(Exception):
    """It is not here."""


class Peer:
    """A server and a worker that takes runs of both flows."""

    def __init__(self, stage):
        if serving is None or not (serving.BIN / "prefect").is_file():
            raise Absent("it is not installed; hint: tests/run tools")
        self.stage = stage
        self.server = serving.Prefect()
        try:
            began = time.monotonic()
            world = stage.world
            self.worker = self.server.worker({
                "VAULTGATE_URL": world.url, "VAULTGATE_CA": world.ca, "VAULTGATE_CLIENT_ID": "flow",
                "VAULTGATE_SCOPE": "api://vaultgate/.default",
                "VAULTGATE_TOKEN_URL": world.env["SIM_ISSUER_OIDC"] + "/token",
                "VAULTGATE_CLIENT_SECRET_FILE": str(stage.folder / "flow.secret")})
            self.worker_took = time.monotonic() - began
            (self.server.folder / "nothing.py").write_text(FLOW_OF_NOTHING, encoding="utf-8")
            self.kinds = {NOTHING: self.deployed("nothing", f"{self.server.folder}/nothing.py:nothing")}
            if serving.PACKAGE.is_dir():
                self.kinds[ITEM] = self.deployed("backup-region", "vaultgate_flows.flow.backup_region", self.spec())
        except BaseException:
            self.server.stop()
            raise
        self.rates = {kind: [] for kind in self.kinds}
        self.cpu = {kind: [] for kind in self.kinds}
        self.slots = 0

    def spec(self):
        """The first region of the stage, as `export prefect` writes it."""
        vault = f"{GROUP}/Microsoft.RecoveryServices/vaults/{self.stage.regions[0]}"
        digest = hashlib.sha256(self.stage.text.encode()).hexdigest()
        return {"spec": {
            "flow": FLOW, "region": self.stage.regions[0], "definition_digest": f"sha256:{digest}",
            "gateway": self.stage.world.url, "targets": [{"vault": vault, "items": ["vm:rg1/*"], "exclude": []}],
            "parallel": 100, "retry": {"attempts": 20, "first_s": 1, "cap_s": 2}, "poll": {"first_s": 1, "max_s": 2},
            "deadline": {"start_within_s": 43_200, "finish_within_s": 43_200, "counts_approvals": False},
            "retain_s": 2_592_000, "checks": {"younger_than_s": 93_600, "tier": None, "accept": ["Completed"],
                                              "warn": ["CompletedWithWarnings"]}}}

    def deployed(self, name, entrypoint, parameters=None):
        flow = self.server.ask("POST", "/flows/", {"name": name})
        return self.server.ask("POST", "/deployments/", {
            "name": "bench", "flow_id": flow["id"], "entrypoint": entrypoint, "work_pool_name": serving.POOL,
            "path": str(self.server.folder), "pull_steps": [], "parameters": parameters or {},
            "enforce_parameter_schema": False})

    def run(self, kind):
        # Each has a time of its own at which it was due: its backups are its own.
        self.slots += 1
        at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=self.slots)
        return self.server.run(self.kinds[kind], at.replace(microsecond=0).isoformat())

    def begun(self):
        """How long it takes to be there, what it weighs then, and the start of one run."""
        rows = [{"what": "start", "who": "Prefect, server", "seconds": round(self.server.took, 2)},
                {"what": "start", "who": "Prefect, worker", "seconds": round(self.worker_took, 2)}]
        for kind in self.kinds:
            # The first of a kind finds nothing compiled.
            for _ in range(2):
                before, began = len(self.posts()), time.time()
                seen = self.watched(self.run(kind))
            rows.append({"what": "memory", "who": f"Prefect, process of {kind}", **seen})
            posts = sorted(one["at"] for one in self.posts()[before:])
            if posts:
                first = datetime.datetime.fromisoformat(posts[0][:26] + "+00:00").timestamp()
                rows.append({"what": "start to first backup", "who": "Prefect, server and worker there",
                             "seconds": round(first - began, 2)})
        rows += [{"what": "memory", "who": f"Prefect, {name}", **memory(process.pid)}
                 for name, process in (("server", self.server.server), ("worker", self.worker))]
        return rows

    def posts(self):
        return [one for sent in self.stage.backups().values() for one in sent]

    def watched(self, run):
        """The most memory that the process of a run was seen with."""
        most, over = {}, threading.Event()

        def look():
            while not over.wait(0.05):
                pid = serving.process_of(run)
                try:
                    seen = memory(pid) if pid else {}
                except (OSError, KeyError):
                    continue  # it has ended
                if seen.get("rss_mb", 0) >= most.get("rss_mb", 0):
                    most.update(seen)

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            self.server.reaches(run, "Completed")
        finally:
            over.set()
            looking.join(30)
        return most

    def used(self):
        return processor(self.server.server.pid) + processor(self.worker.pid, children=True)

    def round(self, number, rounds):
        for kind in self.kinds:
            before, began = self.used(), time.monotonic()
            runs = [self.run(kind) for _ in range(RUNS)]
            for run in runs:
                self.server.reaches(run, "Completed")
            self.rates[kind].append(RUNS / (time.monotonic() - began))
            until("their processes to end", lambda: not any(serving.process_of(run) for run in runs))
            self.cpu[kind].append((self.used() - before) * 1e3 / RUNS)
            print(f"round {number}/{rounds} Prefect, {kind}: {self.rates[kind][-1]:.3f} runs/s", file=sys.stderr,
                  flush=True)

    def rows(self, own):
        found = []
        for kind, values in self.rates.items():
            slower = [ours / theirs for ours, theirs in zip(own.rates, values)]
            cpu = [theirs / ours for ours, theirs in zip(own.cpu, self.cpu[kind])]
            found.append({
                "what": "flow runs a second", "who": f"Prefect, {kind}", "rate": of(values, 3),
                "cpu_ms_per_run": of(self.cpu[kind], 1), "times_slower": of(slower, 1), "times_cpu": of(cpu, 1)})
        return found

    def stop(self):
        self.server.stop()


def of(values, digits):
    """The median, with the least and the most of the rounds."""
    return {"median": round(statistics.median(values), digits), "least": round(min(values), digits),
            "most": round(max(values), digits)}
