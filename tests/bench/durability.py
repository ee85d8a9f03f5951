"""The price of durability alone: the same gateway on the disk and in memory, by how many
requests are under way. How many records share one fdatasync, and how long a decision waits
for its record, in the queue and in the sync together.
"""
import os
import signal
import shutil
import subprocess
import time

from gateway import Gateway, target
from measure import Generator, Target
from stage import Stage

MEMORY = "/dev/shm"
CONCURRENCY = (1, 8, 32, 128)
EVENT = "syscalls:sys_enter_fdatasync"


class Syncs:
    """Counts a process's fdatasync calls where perf can; None where it cannot."""

    def __init__(self, pid):
        self.process = None
        if shutil.which("perf"):
            self.process = subprocess.Popen(
                ["perf", "stat", "-x", ",", "-e", EVENT, "-p", str(pid)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(0.3)  # until it has attached; it says nothing when it has

    def count(self):
        if not self.process:
            return None
        self.process.send_signal(signal.SIGINT)
        told = self.process.communicate()[1]
        first = told.strip().splitlines()[0].split(",")[0] if told.strip() else ""
        return int(first) if first.isdigit() else None


def one(generator, gateway, connections, seconds):
    """One run: CPU, records for each sync, and the mean wait of a decision."""
    measured = Target("gateway", gateway.url, [gateway.pid], gateway.token_file)
    generator.load(measured, target(), seconds=0.5, connections=connections)
    before, syncs = gateway.metrics(), Syncs(gateway.pid)
    result = generator.load(measured, target(), seconds=seconds, connections=connections)
    synced, after = syncs.count(), gateway.metrics()
    gone = lambda name: after.get(name, 0) - before.get(name, 0)
    waits = gone("vaultgate_record_durable_seconds_count")
    records = gone("vaultgate_log_records")
    return {
        "connections": connections, "rps": round(result["rps"]),
        "cpu_us": round(result["cpu_us"], 1), "p50_us": result["p50_us"], "p99_us": result["p99_us"],
        "wait_us": round(gone("vaultgate_record_durable_seconds_sum") / waits * 1e6) if waits else None,
        "records_per_sync": round(records / synced, 1) if synced else None,
    }


def run(scene, arguments):
    """Rows for disk and memory."""
    disk, _ = scene.gateway("on-disk")
    upstream = f"https://localhost:{scene.port}"
    memory = Stage(MEMORY) if os.access(MEMORY, os.W_OK) else None
    places = {"disk": disk}
    found = []
    try:
        if memory:
            places["memory"] = Gateway(memory, scene.binaries, "in-memory", upstream,
                                       extra=scene.limits, unlimited=False)
        generator = Generator(scene.binaries, disk.ca)
        for connections in CONCURRENCY:
            for place, gateway in places.items():
                row = one(generator, gateway, connections, 1 if arguments.quick else 3)
                found.append({"log_in": place, **row})
    finally:
        if memory:
            memory.__exit__()
    return found


def table(rows):
    if not rows:
        return
    print(f"{'log in':8} {'requests at once':>16} {'req/s':>7} {'CPU us':>7} {'p50 us':>7} {'wait us':>8} {'records/sync':>12}")
    for row in rows:
        shown = lambda name: "-" if row[name] is None else row[name]
        print(f"{row['log_in']:8} {row['connections']:16} {row['rps']:7} {row['cpu_us']:7} "
              f"{row['p50_us']:7} {shown('wait_us'):>8} {shown('records_per_sync'):>12}")
