#!/usr/bin/env python3
"""What scheduled flows cost: the start, memory, items and runs a second, and requests to Azure by the number of
items; beside Prefect in the same run, where it is installed.

  tests/bench/flows.py [--quick] [--rounds N] [--most N] [--no-prefect] [--json FILE]

Gateway and emulator are real, and every backup goes through both. Rates of the orchestrator and of Prefect are
measured in turn, round after round. What is counted at Azure does not depend on the machine. VAULTGATE_BIN_DIR
names a folder with prebuilt executables; without it they are built. The last line is `flows: N passed, M failed`.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import binaries as executables  # noqa: E402

if "VAULTGATE_ORCHESTRATOR_BIN" not in os.environ:
    built = executables.folder()
    for part in ("", "_SIM", "_ORCHESTRATOR"):
        os.environ[f"VAULTGATE{part}_BIN"] = str(pathlib.Path(built, f"vaultgate{part.lower().replace('_', '-')}"))

from flow_stage import FLOW, FlowStage, memory, processor, until  # noqa: E402
from flow_peer import Absent, Peer, of  # noqa: E402

# The aims.
START, MEMORY, FASTER = 0.3, 40, 100
# Requests besides the backups, at most so many times as many for ten times the items at once.
FLAT = 1.5
# Longest time for any of these runs, seconds.
LONG = 900
IDLE = 5


def instant(text):
    """Seconds of what was written in the emulator's journal, or in the orchestrator's."""
    whole, _, part = text.rstrip("Z").partition(".")
    return datetime.datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{part or 0}")


@contextlib.contextmanager
def serving(stage):
    """A process that serves the flows, from its start on; it is ready."""
    process = subprocess.Popen(stage.command("serve"), stdout=subprocess.PIPE, env={**os.environ, "RUST_LOG": "error"})
    try:
        line = process.stdout.readline()
        if not line.startswith(b"ready "):
            raise AssertionError(f"it did not start: {line!r}")
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def first_post(stage, already):
    def found():
        posts = [one for sent in stage.backups().values() for one in sent]
        return min(instant(one["at"]) for one in posts[already:]) if len(posts) > already else None

    return until("the first backup", found)


def starts(rounds):
    """From the start of a process to its first backup at Azure."""
    stage = FlowStage(1, 1)
    try:
        took = {"run": [], "serve": []}
        for _ in range(rounds + 1):
            stage.world.control("DELETE", "journal")
            began = time.time()
            with subprocess.Popen(stage.command("run", FLOW, stage.regions[0], "--wait"), stdout=subprocess.DEVNULL,
                                  env={**os.environ, "RUST_LOG": "error"}) as process:
                took["run"].append(first_post(stage, 0) - began)
                if process.wait(LONG):
                    raise AssertionError("the run did not end well")
            stage.ask()
            stage.world.control("DELETE", "journal")
            began = time.time()
            with serving(stage):
                took["serve"].append(first_post(stage, 0) - began)
                stage.ended(1, LONG)
        # The first finds files and connections that nobody has used.
        return [{"what": "start to first backup", "who": f"orchestrator {verb}", "seconds": of(values[1:], 3)}
                for verb, values in took.items()]
    finally:
        stage.stop()


def memories():
    """Memory without anything to do, and with a hundred jobs under way."""
    stage = FlowStage(1, 100, lasts_ms=3_600_000)
    try:
        with serving(stage) as process:
            time.sleep(IDLE)
            rows = [{"what": "memory", "who": "orchestrator, idle", **memory(process.pid)}]
            stage.ask()
            number = stage.status(1)[0]["id"]

            def works():
                time.sleep(0.5)
                return all(one["step"] == "working" for one in stage.explained(number)["items"] or [{"step": None}])

            until("a hundred jobs", works, LONG)
            time.sleep(IDLE)
            return [*rows, {"what": "memory", "who": "orchestrator, 100 items run", **memory(process.pid)}]
    finally:
        stage.stop()


KINDS = {"backupjobs": "job_lists", "backupprotecteditems": "item_lists"}


def counted(stage):
    """What reached Azure, by what it was. What the gateway asks for itself it asks as another identity: facts for its
    policy, and how the operations end that it has let through."""
    found = dict.fromkeys(("backups", "item_lists", "job_lists", "pages", "others", "facts", "followed"), 0)
    for entry in stage.world.journal(surface="arm"):
        path = entry["path"].lower()
        if entry["identity"] != "operator":
            name = "followed" if "/operation" in path else "facts"
        elif entry["method"] == "POST" and path.endswith("/backup"):
            name = "backups"
        elif "skiptoken" in entry["query"].lower():
            name = "pages"
        else:
            name = KINDS.get(path.rpartition("/")[2], "others")
        found[name] += 1
    return found


def calls(vaults, items, runs=1):
    """So many runs of each region, one after the other: requests by kind, and items a second."""
    stage = FlowStage(vaults, items)
    try:
        stage.ask(runs)
        with serving(stage) as process:
            before = processor(process.pid)
            ended = stage.ended(vaults * runs, LONG)
            used = processor(process.pid) - before
            most = memory(process.pid)["most_mb"]
        found, count = counted(stage), vaults * items * runs
        if found["backups"] != count:
            raise AssertionError(f"{found} for {count} items")
        seconds = lasted(ended)
        return {"what": "requests" if runs == 1 else "sustained",
                "vaults": vaults, "items": vaults * items, "runs": runs,
                "seconds": round(seconds, 2), "items_per_second": round(count / seconds, 1),
                "cpu_ms_per_item": round(used * 1e3 / count, 2), "most_mb": most, **found}
    finally:
        stage.stop()


def lasted(runs):
    """Seconds from the start of the first to the end of the last."""
    return max(instant(one["ended"]) for one in runs) - min(instant(one["started"]) for one in runs)


class Own:
    """Runs of one item each, many at a time: as many regions, each with a vault and a queue of its own."""

    def __init__(self, regions, runs):
        self.stage, self.runs, self.rates, self.cpu = FlowStage(regions, 1), runs, [], []

    def round(self):
        self.stage.ask(self.runs)
        count = len(self.stage.regions) * self.runs
        with serving(self.stage) as process:
            before = processor(process.pid)
            found = self.stage.ended(count, LONG)
            used = processor(process.pid) - before
        self.rates.append(count / lasted(found))
        self.cpu.append(used * 1e3 / count)

    def row(self):
        return {"what": "flow runs a second", "who": "orchestrator, runs of one item", "rate": of(self.rates, 2),
                "cpu_ms_per_run": of(self.cpu, 1)}


def rates(arguments):
    """The orchestrator and Prefect in turn."""
    with contextlib.ExitStack() as stack:
        own = Own(20 if arguments.quick else 100, 2)
        stack.callback(own.stage.stop)
        rows, absent, peer = [], None, None
        try:
            peer = None if arguments.no_prefect else Peer(own.stage)
        except Absent as why:
            absent = str(why)
        if peer:
            stack.callback(peer.stop)
            rows += peer.begun()
        for number in range(1, arguments.rounds + 1):
            own.round()
            print(f"round {number}/{arguments.rounds} orchestrator: {own.rates[-1]:.2f} runs/s", file=sys.stderr,
                  flush=True)
            if peer:
                peer.round(number, arguments.rounds)
        rows.append(own.row())
        if peer:
            rows += peer.rows(own)
        return rows, absent


def aims(rows):
    """What is to hold, from the rows: name, measured, limit, whether it is held."""
    found = []

    def at_most(what, measured, limit):
        found.append({"what": what, "measured": round(measured, 2), "limit": limit, "held": measured <= limit})

    for row in rows:
        if row["what"] == "start to first backup" and row["who"].startswith("orchestrator"):
            at_most(f"start to first backup, {row['who']}, s", row["seconds"]["median"], START)
        if row["what"] == "memory" and row["who"].startswith("orchestrator"):
            at_most(f"resident, {row['who']}, MiB", row["rss_mb"], MEMORY)
        if "times_slower" in row:
            measured = row["times_slower"]["median"]
            found.append({"what": f"runs a second beside {row['who']}, times", "measured": measured, "limit": FASTER,
                          "held": measured >= FASTER, "at_least": True})
    besides = {(row["vaults"], row["items"]): row["item_lists"] + row["job_lists"] + row["others"]
               for row in rows if row["what"] == "requests"}
    for vaults in (1, 10):
        few, many = besides.get((vaults, 10 * vaults)), besides.get((vaults, 100 * vaults))
        if few and many:
            at_most(f"lists for 100 items in each of {vaults} vaults, against 10", many / few, FLAT)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and items")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=1000, help="most items of one vault")
    parser.add_argument("--no-prefect", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.most = min(arguments.rounds, 1), min(arguments.most, 100)
    rows = []

    def told(found):
        rows.extend(found)
        for row in found:
            print(json.dumps(row), flush=True)

    told(starts(max(3, arguments.rounds)))
    told(memories())
    for vaults, items in ((1, 10), (1, 100), (1, 1_000), (1, 10_000), (10, 10), (10, 100)):
        if items <= arguments.most:
            told([calls(vaults, items)])
    told([calls(10, min(100, arguments.most), 3)])
    found, absent = rates(arguments)
    told(found)
    if absent:
        print(f"Prefect: not run: {absent}")
    held = aims(rows)
    result = {"command": " ".join(["tests/bench/flows.py", *sys.argv[1:]]), "commit": executables.commit(),
              "processors": len(os.sched_getaffinity(0)), "rounds": arguments.rounds, "flows": rows,
              "not_run": {"Prefect": absent} if absent else {}, "aims": held}
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for aim in held:
        limit = f"{'at least' if aim.get('at_least') else 'at most'} {aim['limit']:g}"
        print(f"{aim['what']}: {aim['measured']} ({limit}): {'held' if aim['held'] else 'NOT HELD'}")
    missed = sum(not aim["held"] for aim in held)
    print(f"flows: {len(held) - missed} passed, {missed} failed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
