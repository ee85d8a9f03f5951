"""The processes of one run: on which processors, ended by pid whatever happens."""
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("VAULTGATE_CACHE", os.path.expanduser("~/.cache/vaultgate"))
# Longest time that a start may take on a busy machine, seconds.
PATIENCE = 120


def halves():
    """Processors for what is measured, and for what measures it.

    With at least four, the generator and the upstream never take time from the target,
    and every target has the same two processors. With fewer, all share all.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 4:
        return set(cores), set(cores)
    return set(cores[:2]), set(cores[2:])


MEASURED, MEASURING = halves()
# Threads that each target may use: its processors.
THREADS = len(MEASURED)


def free_port():
    """A free port below those that outgoing connections take."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            children.setdefault(parent, []).append(int(name))
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        left += children.get(one, [])
    return found


def pss_mib(pids):
    """Memory of these processes, shared pages divided among those who share them."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1))
    return total / 1024


def until(what, check, patience=PATIENCE):
    """Asks `check` until it answers with something."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"waited {patience} s for {what}")


class Stage:
    """A temporary folder and the processes that were started from it."""

    def __init__(self, base=None):
        self.folder = tempfile.mkdtemp(prefix="vaultgate-bench-", dir=base)
        self.processes = []

    def __enter__(self):
        # Whoever ends this program ends what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            self.end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as out:
            out.write(text)
        return self.path(name)

    def start(self, name, command, cores):
        with open(self.path(f"{name}.out"), "ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        process.name = name
        self.processes.append(process)
        return process

    def said(self, process):
        with open(self.path(f"{process.name}.out"), errors="replace") as text:
            return text.read()[-2000:]

    def wait_for_port(self, port, process):
        def up():
            if process.poll() is not None:
                sys.exit(f"{process.name} ended with {process.returncode}:\n{self.said(process)}")
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return True
            except OSError:
                return False

        until(f"{process.name} on port {port}", up)

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
