#!/usr/bin/env python3
"""What a decision costs beside Open Policy Agent, what a replay costs, and what a reload does.

  tests/bench/decisions.py [--quick] [--only decisions|replay|reload]... [--json FILE]

Decisions: the policy library as it ships, with 1,000 to 100,000 role bindings, asked the same
inputs by the interpreter, by the bytecode machine and by Open Policy Agent's own engine, in turn
within each round. Each is timed from the input that was read to the decision. The engine of Open
Policy Agent is called through its bindings for Python: what asking a rule without a body costs there,
with the same input, is taken off its time.

Replay: `vaultgate policy replay` over copies of decisions that a gateway wrote, on all processors.

Reload: a gateway under a steady load whose bundle of many bindings is changed again and again; the
latencies while a bundle is taken in beside those of a second in which nothing happens, and whether
each record names one bundle that was active.
"""
import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "policy"), str(HERE.parent / "clients")]
import binaries as executables  # noqa: E402
import fixture  # noqa: E402
import opa  # noqa: E402
from gateway import target  # noqa: E402
from measure import spread  # noqa: E402
from stage import ROOT, Stage, until  # noqa: E402

LIBRARY = pathlib.Path(ROOT) / "policies"
# What the machine does not decide.
CHANGES = ("restore", "delete", "weaken", "configure")
PERSONAS = {"read": "reader", "snapshot": "operator", "restore": "operator"}
CONTROL = "package control\n\nasked := 1\n"


def bundle(folder, size, revision=None):
    """The library with so many role bindings more, each of another principal."""
    shutil.copytree(LIBRARY, folder, ignore=shutil.ignore_patterns("*_test.rego", "README.md"))
    path = folder / "vaultgate/data.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for number in range(size):
        scope = f"/subscriptions/{number:08x}-0000-0000-0000-000000000000"
        data["bindings"][f"principal:https://idp.example|{number}"] = [{"role": "reader", "scopes": [scope]}]
    path.write_text(json.dumps(data), encoding="utf-8")
    if revision:
        name(folder, revision)
    return folder


def name(folder, revision):
    """Gives a bundle another revision: the last file of a change, so that it is taken whole."""
    manifest = json.loads((folder / ".manifest").read_text(encoding="utf-8"))
    new = folder.parent / f"{folder.name}.manifest"
    new.write_text(json.dumps({**manifest, "revision": revision}), encoding="utf-8")
    new.replace(folder / ".manifest")


def inputs():
    """One request of each class, of somebody who may: made by the library's own tests' helpers."""
    library = opa.library()
    helpers = library.ask("vaultgate_test.request", None).value
    make = "x := data.vaultgate_test.request.request(input.who, input.class, input.id)"
    found = {}
    for kind in ("read", "snapshot", *CHANGES):
        who = helpers[PERSONAS.get(kind, "custodian")]
        found[kind] = library.query(make, {"who": who, "class": kind, "id": helpers["item"]}).value
    return found


class Asked:
    """Open Policy Agent with one bundle."""

    def __init__(self, folder):
        files = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
                 for path in sorted(folder.rglob("*")) if path.name == "data.json" or path.suffix == ".rego"}
        self.opa = opa.Opa({**files, "control/control.rego": CONTROL})

    def times(self, document, given, count):
        """Microseconds of each question, sorted."""
        ask, found = self.opa.engine.eval_document, []
        for turn in range(count + count // 10):
            one = given[turn % len(given)]
            began = time.perf_counter_ns()
            ask(document, one)
            found.append((time.perf_counter_ns() - began) / 1000)
        return sorted(found[count // 10:])


def ours(binaries, folder, file, engine, count):
    command = [os.path.join(binaries, "vaultgate"), "policy", "bench", "--bundle", folder, "--input", file,
               "--engine", engine, "--count", str(count), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"vaultgate policy bench: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    if told["handed_over"]:
        sys.exit(f"{engine}: {told['handed_over']} of {count} decisions were not made")
    return told["p50_us"], told["p99_us"]


def decisions(binaries, arguments):
    """Rows by size and by what is asked."""
    opa.Opa.library = opa.load_opa()
    made, rows = inputs(), []
    with Stage() as stage:
        for size in arguments.sizes:
            folder = bundle(pathlib.Path(stage.path(f"bundle-{size}")), size)
            asked = Asked(folder)
            for name_, kinds, engines in (("reads", ("read",), ("interpreter", "machine")),
                                          ("snapshots", ("snapshot",), ("interpreter", "machine")),
                                          ("changes", CHANGES, ("interpreter",))):
                given = [made[kind] for kind in kinds]
                file = stage.write(f"{name_}.jsonl", "".join(json.dumps(one) + "\n" for one in given))
                rounds = {engine: [] for engine in (*engines, "opa")}
                for number in range(arguments.rounds):
                    control = statistics.median(asked.times("control.asked", given, arguments.count))
                    theirs = asked.times("vaultgate.decision", given, arguments.count)
                    p99 = theirs[int(len(theirs) * 0.99)]
                    rounds["opa"].append((statistics.median(theirs) - control, p99 - control))
                    for engine in engines:
                        rounds[engine].append(ours(binaries, folder, file, engine, arguments.count))
                    print(f"{size} bindings, {name_}, round {number + 1}: " + ", ".join(
                        f"{engine} {times[-1][0]:.0f} us" for engine, times in rounds.items()),
                        file=sys.stderr, flush=True)
                for engine, times in rounds.items():
                    ratio = [o[0] / t[0] for o, t in zip(rounds["opa"], times)]
                    rows.append({"size": size, "asked": name_, "engine": engine,
                                 "p50_us": round(statistics.median(t[0] for t in times), 1),
                                 "p99_us": round(statistics.median(t[1] for t in times), 1),
                                 "times_faster": spread(ratio)[0], "times_faster_spread": spread(ratio)[1]})
    return rows


# --- replay ---------------------------------------------------------------------------

def replay(binaries, arguments):
    """A replay of copies of what a gateway decided, under the bundle that decided it."""
    with Stage() as stage:
        scene = fixture.Scene(stage, binaries)
        policies = bundle(pathlib.Path(stage.path("bundle")), 1_000)
        gateway, _ = scene.gateway("replayed", policies=policies)
        for method, path, token in ((b"GET", target(), gateway.token), (b"DELETE", vault(), gateway.token),
                                    (b"GET", target(), gateway.mint("operator"))):
            exchange(gateway, method.decode(), path, token)
        gateway.stop()
        log = os.path.join(gateway.folder, "log")
        written = [line for line in records(log) if line["kind"] == "decision"]
        template = stage.write("template", "".join(json.dumps(line) + "\n" for line in written))
        scene.tool("fill", "--dir", log, "--key", os.path.join(gateway.folder, "log.key"), "--origin",
                   "vaultgate.example/demo", "--size", arguments.records, "--template", template)
        began = time.monotonic()
        command = [os.path.join(binaries, "vaultgate"), "policy", "replay", policies, "--log", log,
                   "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        took = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(f"vaultgate policy replay: {done.stderr.strip()} {done.stdout[-500:]}")
        told = json.loads(done.stdout)
        print(f"replay: {json.dumps(told)[:300]} in {took:.1f} s", file=sys.stderr)
        return {"records": arguments.records, "seconds": round(took, 1), "told": told,
                "processors": len(os.sched_getaffinity(0))}


def vault():
    """The vault that the reads are about."""
    return target().partition("/backupJobs")[0] + "?api-version=2026-08-01"


def records(log):
    """The records of a log, in order."""
    for path in sorted(pathlib.Path(log, "segments").glob("*.jsonl")):
        for line in path.read_bytes().rstrip(b"\0").splitlines():
            yield json.loads(line)


def exchange(gateway, method, path, token):
    """One request; its status."""
    connection = connect(gateway)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def connect(gateway):
    parts = urllib.parse.urlsplit(gateway.url)
    context = ssl.create_default_context(cafile=gateway.ca)
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=context)


# --- reload ---------------------------------------------------------------------------

class Load(threading.Thread):
    """Reads at a steady rate, each with its time of beginning and how long it took."""

    def __init__(self, gateway, rate):
        super().__init__(daemon=True)
        self.gateway, self.rate, self.done, self.bad = gateway, rate, [], 0
        self.going = True

    def run(self):
        connection, due = connect(self.gateway), time.monotonic()
        while self.going:
            due += 1 / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            connection.request("GET", target(), headers={"Authorization": f"Bearer {self.gateway.token}"})
            answer = connection.getresponse()
            answer.read()
            self.bad += answer.status != 200
            self.done.append((began, time.monotonic() - began))

    def within(self, began, ended):
        """Milliseconds of the requests that began in this time, sorted."""
        return sorted(took * 1000 for at, took in self.done if began <= at < ended)


def activated(gateway):
    """How many bundles came into force since the start."""
    parts = urllib.parse.urlsplit(gateway.env["VAULTGATE_ADMIN_URL"])
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return int(re.search(r'^vaultgate_policy_changes\{reason="activated"\} (\d+)', text, re.M)[1])


def named(gateway):
    """Whether each decision names the one bundle that was in force, or had been a moment before: a
    request keeps the policy that it began with."""
    order, bundles, wrong, decisions_ = [], {}, 0, 0
    for record in records(gateway.env["VAULTGATE_LOG_DIR"]):
        if record["kind"] == "policy" and record["event"] == "activated":
            order.append(record["bundle"])
            bundles[record["bundle"]] = record["revision"]
        elif record["kind"] == "decision":
            decisions_ += 1
            policy = record["policy"]
            late = policy["bundle"] in order[-2:]
            wrong += not (late and bundles[policy["bundle"]] == policy["revision"])
    return {"activations": len(order), "decisions": decisions_, "of_no_one_bundle": wrong}


def shown(times):
    """Milliseconds by share."""
    at = lambda share: round(times[min(len(times) - 1, int(len(times) * share))], 2)
    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "most": round(times[-1], 2), "requests": len(times)}


def reload(binaries, arguments):
    """Rows by the number of bindings."""
    return [reloads(binaries, arguments, *row) for row in arguments.reloading]


def reloads(binaries, arguments, bindings, count):
    """A bundle of many bindings taken in under load, again and again."""
    with Stage() as stage:
        scene = fixture.Scene(stage, binaries)
        policies = bundle(pathlib.Path(stage.path("bundle")), bindings, "r0")
        gateway, _ = scene.gateway("reloaded", policies=policies)
        load = Load(gateway, arguments.rate)
        load.start()
        time.sleep(1)
        calm_from = time.monotonic()
        time.sleep(arguments.calm)
        calm_to = time.monotonic()
        for number in range(1, count + 1):
            name(policies, f"r{number}")
            until(f"revision r{number}", lambda: activated(gateway) > number, 60)
            print(f"reload {number}", end="\r", file=sys.stderr)
        busy_to = time.monotonic()
        load.going = False
        load.join()
        gateway.stop()
        row = {"bindings": bindings, "reloads": count, "seconds": round(busy_to - calm_to, 1),
               "bad": load.bad, "requests": len(load.done), **named(gateway)}
        # What many small reloads cost is not latency.
        if bindings:
            row["calm_ms"] = shown(load.within(calm_from, calm_to))
            row["reloading_ms"] = shown(load.within(calm_to, busy_to))
        return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument("--only", action="append", help="decisions, replay, reload")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2000, help="decisions of each round")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    arguments.sizes, arguments.records = [1_000, 10_000, 100_000], 1_000_000
    arguments.rate, arguments.calm = 100, 10
    arguments.reloading = [(100_000, 10), (0, 1_000)]
    if arguments.quick:
        arguments.sizes, arguments.rounds, arguments.count = [1_000, 10_000], 3, 500
        arguments.records, arguments.reloading = 50_000, [(10_000, 5), (0, 20)]
    binaries = executables.folder()
    found = {"command": "tests/bench/decisions.py", "commit": executables.commit()}
    for part in (decisions, replay, reload):
        if not arguments.only or part.__name__ in arguments.only:
            found[part.__name__] = part(binaries, arguments)
    for row in found.get("decisions", []):
        low, high = row["times_faster_spread"]
        print(f"{row['size']:>7} {row['asked']:20} {row['engine']:12} p50 {row['p50_us']:8.1f} us  "
              f"p99 {row['p99_us']:8.1f} us  x{row['times_faster']:.1f} [{low:.1f}-{high:.1f}]")
    if "replay" in found:
        row = found["replay"]
        print(f"replay of {row['records']} records in {row['seconds']} s on {row['processors']} processors")
    for row in found.get("reload", []):
        print(f"{row['bindings']:>7} bindings, {row['reloads']} reloads in {row['seconds']} s: calm "
              f"{row.get('calm_ms')}, reloading {row.get('reloading_ms')}, {row['bad']} refused, "
              f"{row['of_no_one_bundle']} of {row['decisions']} records name no one bundle")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
