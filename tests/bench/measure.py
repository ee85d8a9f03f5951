"""Measuring: targets in turn, round after round, and ratios within each round.

The machines are noisy and absolute figures differ from run to run: a figure is compared
only with the floor's of the same round. CPU is utime+stime of the target's whole process
tree over the timed window, divided by the requests that were answered.
"""
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

import disk
from stage import MEASURING, pss_mib, tree

# Requests a second, and connections, of the run that tells latencies.
RATE, STEADY = 200, 4


@dataclass
class Target:
    """Something that is measured."""
    name: str
    url: str
    pids: list
    token: str
    durable: str = ""  # folder of the log, where there is one
    rounds: list = field(default_factory=list)

    def processes(self):
        return [pid for root in self.pids for pid in tree(root)]


class Generator:
    """The load generator, on processors of its own."""

    def __init__(self, binaries, ca):
        self.program, self.ca = os.path.join(binaries, "vaultgate-bench"), ca

    def load(self, target, path="", **options):
        """One run; options are the generator's own."""
        command = [self.program, "load", "--url", target.url + path, "--ca", self.ca,
                   "--tokens", target.token]
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        for pid in target.processes():
            command += ["--pid", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: os.sched_setaffinity(0, MEASURING))
        if done.returncode != 0:
            sys.exit(f"load on {target.name} failed: {done.stderr.strip()}")
        return json.loads(done.stdout)


def measure(generator, targets, path, arguments, synced):
    """Fills each target's rounds. `synced` is the folder whose disk is timed as well."""
    for target in targets:
        warm = generator.load(target, path, seconds=1, connections=arguments.connections)
        if warm["bad"]:
            sys.exit(f"{target.name} answered {warm['bad']} of {warm['requests']} without success")
    syncs = []
    for number in range(1, arguments.rounds + 1):
        syncs.append(disk.fdatasync_us(synced))
        # Each round begins elsewhere: no target always follows the same one.
        turn = (number - 1) % len(targets)
        for target in [*targets[turn:], *targets[:turn]]:
            result = generator.load(target, path, seconds=arguments.seconds,
                                    connections=arguments.connections)
            steady = generator.load(target, path, seconds=arguments.steady, rate=RATE,
                                    connections=STEADY)
            result["p50_us"], result["p99_us"] = steady["p50_us"], steady["p99_us"]
            result["bad"] += steady["bad"]
            target.rounds.append(result)
            print(f"round {number}/{arguments.rounds} {target.name:22} {result['cpu_us']:7.1f} us CPU"
                  f" {result['rps']:8.0f} req/s  p50 {result['p50_us']:5} us at {RATE}/s"
                  f"  bad {result['bad']}", file=sys.stderr, flush=True)
    return statistics.median(syncs)


def spread(values, digits=2):
    """Median with the least and the most of the rounds."""
    return (round(statistics.median(values), digits),
            [round(min(values), digits), round(max(values), digits)])


def against(one, other, key="cpu_us"):
    """Per-round ratio of two targets."""
    return spread([a[key] / b[key] for a, b in zip(one.rounds, other.rounds) if b[key]])


def rows(targets, floor):
    """What is reported of each target."""
    found = []
    for target in targets:
        median = lambda key: statistics.median(r[key] for r in target.rounds)
        cpu, cpu_spread = against(target, floor)
        rps, rps_spread = against(target, floor, "rps")
        added, added_spread = spread(
            [a["p50_us"] - b["p50_us"] for a, b in zip(target.rounds, floor.rounds)], 0)
        found.append({
            "name": target.name,
            "cpu_us_per_request": round(median("cpu_us"), 1),
            "rps": round(median("rps")),
            "p50_us": round(median("p50_us")),
            "p99_us": round(median("p99_us")),
            "rss_mb": round(pss_mib(target.processes()), 1),
            "cpu_vs_floor": cpu, "cpu_vs_floor_spread": cpu_spread,
            "rps_vs_floor": rps, "rps_vs_floor_spread": rps_spread,
            "p50_added_us": added, "p50_added_us_spread": added_spread,
            "bad": sum(r["bad"] for r in target.rounds),
        })
    return found


def table(found, stream=sys.stdout):
    print(f"{'target':22} {'CPU us/req':>10} {'vs floor':>8} {'spread':>11} {'req/s':>7} "
          f"{'vs floor':>8} {'p50 us':>7} {'added':>6} {'p99 us':>7} {'PSS MiB':>8}", file=stream)
    for row in found:
        low, high = row["cpu_vs_floor_spread"]
        print(f"{row['name']:22} {row['cpu_us_per_request']:10.1f} {row['cpu_vs_floor']:8.2f} "
              f"{f'{low:.2f}-{high:.2f}':>11} {row['rps']:7} {row['rps_vs_floor']:8.2f} "
              f"{row['p50_us']:7} {row['p50_added_us']:6.0f} {row['p99_us']:7} {row['rss_mb']:8.1f}",
              file=stream)
