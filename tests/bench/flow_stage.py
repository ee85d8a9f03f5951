"""A gateway, as much as one wants of Azure behind it, and the orchestrator's files: what `flows.py` measures."""
import concurrent.futures
import http.client
import importlib.util
import json
import os
import pathlib
import sys
import time
import urllib.parse

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(TESTS / "clients"))


def of_flows():
    """tests/flows/stage.py: this folder has a `stage` as well."""
    spec = importlib.util.spec_from_file_location("stage_of_flows", TESTS / "flows/stage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAGE = of_flows()
from world import API, PROD, until  # noqa: E402

FLOW = STAGE.FLOW
GROUP = f"/subscriptions/{PROD}/resourceGroups/rg1/providers"
TICK = os.sysconf("SC_CLK_TCK")
OPENING = """version: 1
flow: nightly-weu
owner: backup@contoso.com
gateway: {{ url: "{url}", identity: nightly }}
defaults:
  poll: {{ first: 1s, max: 2s }}
  retry: {{ attempts: 20, first: 1s, cap: 2s }}
  deadline: {{ start_within: 12h, finish_within: 12h }}
regions:
"""
REGION = """  {name}:
    schedule: {{ cron: "30 2 * * *", timezone: UTC }}
    parallel: 100
    targets: [{{ vault: {subscription}/rg1/{name}, items: ["vm:rg1/*"] }}]
"""


def processor(pid, children=False):
    """Seconds of processor that a process has used, with its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return sum(map(int, fields[11:15 if children else 13])) / TICK


def memory(pid):
    """MiB of a process: resident, and with what it shares divided among those who share it."""
    kib = {}
    for file in ("status", "smaps_rollup"):
        for line in pathlib.Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM", "Pss"):
                kib[name] = int(value.split()[0])
    return {"rss_mb": round(kib["VmRSS"] / 1024, 1), "pss_mb": round(kib["Pss"] / 1024, 1),
            "most_mb": round(kib["VmHWM"] / 1024, 1)}


class FlowStage(STAGE.Stage):
    """A region for each vault, and so many items in each vault; jobs are done at once unless it is said."""

    def __init__(self, vaults, items, lasts_ms=10):
        super().__init__()
        self.regions = [f"bench{number}" for number in range(1, vaults + 1)]
        self.lines = {}
        try:
            self.azure = self.world.control("POST", "azure-token", {"mint": "operator"})["access_token"]
            self.world.control("POST", "jobs", {"lasts_ms": 1})
            for name in self.regions:
                self.fill(name, items)
            self.text = OPENING.format(url=self.world.url) + "".join(
                REGION.format(name=name, subscription=PROD) for name in self.regions)
            self.file.write_text(self.text, encoding="utf-8")
            self.review()
            self.world.control("POST", "jobs", {"lasts_ms": lasts_ms})
            self.world.control("DELETE", "journal")
        except BaseException:
            self.stop()
            raise

    def fill(self, name, items):
        """A vault and its items, put there without the gateway."""
        vault = f"{GROUP}/Microsoft.RecoveryServices/vaults/{name}"
        source = f"{GROUP}/Microsoft.Compute/virtualMachines/vm"
        self.put(vault, {"location": "westeurope", "properties": {}})
        # Several machines have the same name here: jobs are told by their decisions.
        for number in range(items):
            inner = f"iaasvmcontainerv2;rg1;m{number:05}"
            path = f"{vault}/backupFabrics/Azure/protectionContainers/IaasVMContainer;{inner}/protectedItems/VM;{inner}"
            self.put(path, {"properties": {
                "protectedItemType": "Microsoft.Compute/virtualMachines",
                "sourceResourceId": f"{source}{number % 12 + 1}",
                "policyId": f"{STAGE.VAULT}/backupPolicies/DefaultPolicy"}})
        # They are protected once the last of their operations has ended.
        until("the items", lambda: self.protected(vault) == items)

    def protected(self, vault):
        count, path = 0, f"{vault}/backupProtectedItems?{API}"
        while path:
            page = self.send("GET", path)
            count, path = count + len(page["value"]), page.get("nextLink")
        return count

    def put(self, path, body):
        self.send("PUT", f"{path}?{API}", body)

    def send(self, method, path, body=None):
        """Asks the emulator itself, on one connection."""
        parts = urllib.parse.urlsplit(self.world.env["SIM_AZURE_URL"])
        line = self.lines.setdefault("azure", http.client.HTTPSConnection(
            parts.hostname, parts.port, context=self.world.context(), timeout=60))
        path = path.removeprefix(self.world.env["SIM_AZURE_URL"])
        line.request(method, urllib.parse.quote(path, safe="/?&=%$"), body=body and json.dumps(body),
                     headers={"Authorization": f"Bearer {self.azure}", "Content-Type": "application/json"})
        answer = line.getresponse()
        text = answer.read()
        if answer.status not in (200, 201, 202):
            raise AssertionError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text) if text else None

    def ask(self, runs=1):
        """Asks for so many runs of each region; nobody runs them yet."""
        first, *others = self.regions * runs
        # Two that make the journal at the same instant hinder each other.
        self.does("run", FLOW, first)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: self.does("run", FLOW, name), others))

    def status(self, most):
        return [json.loads(line) for line in self.does("status", "--json", "--most", most).splitlines()]

    def ended(self, runs, patience):
        """The runs, once all of them have ended well."""
        def all_ended():
            time.sleep(0.3)
            found = self.status(runs)
            return found if len(found) == runs and all(one["ended"] for one in found) else None

        found = until(f"{runs} runs", all_ended, patience)
        states = {one["state"] for one in found}
        if states != {"Completed"}:
            raise AssertionError(f"{states}: {found[0]['reason']}")
        return found

    def stop(self):
        for line in self.lines.values():
            line.close()
        super().stop()
