#!/usr/bin/env python3
"""Instructions that one request costs the whole gateway, counted by callgrind and held to a
baseline: unlike times, they are the same on every machine with the same instruction set.

  tests/bench/instructions.py [--requests N] [--record]

One caller reads over one connection, again and again: TLS, token from the cache, policy,
decision and outcome records, the request to Azure. What the gateway does in the same time
without being asked is counted first and taken off. A run that takes more than TOLERANCE
beyond docs/performance/instructions.json fails; --record writes that file anew, which is a
change to be explained. The last line is `instructions: N passed, M failed`.
"""
import argparse
import http.client
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import binaries as executables  # noqa: E402
from gateway import Gateway, target  # noqa: E402
from stage import MEASURING, ROOT, Stage, free_port, until  # noqa: E402

BASELINE = os.path.join(ROOT, "docs/performance/instructions.json")
# Two runs of one build differ by some two per cent: threads meet in other orders.
TOLERANCE = 0.08
IDLE = 4.0


def counted(stage, binaries):
    """A folder with the same executables, the gateway under callgrind."""
    folder = stage.path("bin")
    os.mkdir(folder)
    for name in executables.PROGRAMS:
        os.symlink(os.path.join(binaries, name), os.path.join(folder, name))
    path = os.path.join(folder, "vaultgate")
    os.unlink(path)
    with open(path, "w", encoding="utf-8") as script:
        script.write("#!/bin/sh\n"
                     f"exec valgrind --tool=callgrind --callgrind-out-file={stage.path('counts')}"
                     f" {os.path.join(binaries, 'vaultgate')} \"$@\" 2>{stage.path('valgrind')}\n")
    os.chmod(path, 0o755)
    return folder


class Counter:
    """Instructions since the last look."""

    def __init__(self, stage, pid):
        self.stage, self.pid, self.dumps = stage, pid, 0
        self.control("--zero")

    def control(self, what):
        subprocess.run(["callgrind_control", what, str(self.pid)], check=True, capture_output=True)

    def since(self):
        self.control("--dump")
        self.dumps += 1
        path = self.stage.path(f"counts.{self.dumps}")
        found = until("callgrind's counts", lambda: os.path.exists(path) and re.search(
            r"^(?:totals|summary): (\d+)", open(path, encoding="utf-8").read(), re.M))
        return int(found.group(1))


def ask(connection, token, number):
    for _ in range(number):
        connection.request("GET", target(), headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"a read was answered {answer.status}: {text[:300]!r}")


def measure(stage, binaries, requests):
    port = free_port()
    extra = stage.write("extra.toml", "")
    gateway = Gateway(stage, counted(stage, binaries), upstream=f"https://localhost:{port}", extra=extra)
    upstream = stage.start("upstream", [
        os.path.join(binaries, "vaultgate-bench"), "upstream", "--listen", f"127.0.0.1:{port}",
        "--cert", gateway.cert, "--key", gateway.key], MEASURING)
    stage.wait_for_port(port, upstream)
    parts = urllib.parse.urlsplit(gateway.url)
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=120,
                                             context=ssl.create_default_context(cafile=gateway.ca))
    ask(connection, gateway.token, 50)
    counter = Counter(stage, gateway.pid)
    time.sleep(IDLE)
    idle = counter.since() / IDLE
    began = time.monotonic()
    ask(connection, gateway.token, requests)
    took = time.monotonic() - began
    return (counter.since() - idle * took) / requests


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--record", action="store_true", help="write the baseline anew")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        print("not run: valgrind is missing")
        sys.exit(1 if os.environ.get("CI") else 0)
    with Stage() as stage:
        count = round(measure(stage, executables.folder(), arguments.requests))
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    if arguments.record:
        found = {"instructions_per_request": count, "tolerance": TOLERANCE, "commit": executables.commit(),
                 "rustc": rustc.stdout.strip(), "machine": platform.machine(),
                 "command": "tests/bench/instructions.py --record"}
        with open(BASELINE, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1)
            out.write("\n")
    with open(BASELINE, encoding="utf-8") as lines:
        baseline = json.load(lines)
    least = baseline["instructions_per_request"]
    ratio = count / least
    print(f"{count:,} instructions a request, {ratio:.3f} of the baseline's {least:,} "
          f"({baseline['commit']}, {baseline['rustc']})")
    if ratio > 1 + TOLERANCE:
        sys.exit(f"instructions: 0 passed, 1 failed\nmore than {1 + TOLERANCE} of the baseline; hint: find what "
                 "costs it with `callgrind_annotate --inclusive=yes`, or record a new baseline and say why")
    if ratio < 1 - TOLERANCE:
        print("fewer than the baseline by more than the tolerance; hint: --record, so that they stay")
    print("instructions: 1 passed, 0 failed")


if __name__ == "__main__":
    main()
