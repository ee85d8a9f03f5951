"""How much memory and processor time the gateway takes, sampled while it is attacked."""

import contextlib
import os
import threading

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 1 << 20
EVERY = 0.02


def resident(pid):
    """Resident bytes now."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def proportional(pid):
    """Proportional set size, bytes: what the machine would win by its end."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024


def processor(pid):
    """Seconds of processor time so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Meter:
    """The highest resident size while it is entered; `grown` is against the beginning."""

    def __init__(self, pid):
        self.pid = pid
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        # A suite that failed may have ended the gateway while this went on.
        with contextlib.suppress(FileNotFoundError):
            while not self.over.wait(EVERY):
                self.peak = max(self.peak, resident(self.pid))

    def __enter__(self):
        self.before = self.peak = resident(self.pid)
        self.spent = processor(self.pid)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.peak = max(self.peak, resident(self.pid))
        self.spent = processor(self.pid) - self.spent

    @property
    def grown(self):
        return (self.peak - self.before) / MEBIBYTE
