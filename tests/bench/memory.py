#!/usr/bin/env python3
"""Memory does not grow with requests: at most LIMIT MiB over a million through TLS, after a
warm-up.

  tests/bench/memory.py [--requests N] [--warm N] [--connections C] [--limit MIB] [--json FILE]

What is judged is the process's own memory (Pss_Anon): file pages come and go. A leak of
three bytes a request is found. Each request leaves two records, so a million takes some
gigabytes below the temporary folder, which are removed. The last line is
`memory: N passed, M failed`.
"""
import argparse
import json
import os
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import binaries as executables  # noqa: E402
import fixture  # noqa: E402
from gateway import target  # noqa: E402
from measure import Generator, Target  # noqa: E402
from stage import Stage, pss_mib  # noqa: E402

LIMIT = 2.0
SAMPLES = 20
VAULTS = 50
# What one request leaves on the disk, with room to spare.
BYTES_EACH = 16_384


def anonymous_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        return int(re.search(r"^Pss_Anon:\s+(\d+)", rollup.read(), re.M).group(1)) / 1024


def settled(pid):
    """The least of a few looks: buffers under way are no growth."""
    looks = []
    for _ in range(5):
        time.sleep(0.2)
        looks.append(anonymous_mib(pid))
    return min(looks)


def grown_mib(samples):
    """Growth over the run, from the troughs: the allocator gives memory back late and in
    lumps of a few MiB, and what is really held is what is left at its best moments. The
    least of the first third is set against the least of the last; they are about two
    thirds of the run apart."""
    third = max(1, len(samples) // 3)
    least = lambda part: min(own for _, own, _ in part)
    return 1.5 * (least(samples[-third:]) - least(samples[:third]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--warm", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--limit", type=float, default=LIMIT, help="MiB; more for a short run, whose end is still warming up")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    binaries = executables.folder()
    with Stage() as stage:
        needed = (arguments.requests + arguments.warm) * BYTES_EACH
        if shutil.disk_usage(stage.folder).free < needed:
            print(f"memory: not run: needs {needed >> 30} GiB below the temporary folder")
            return 1 if os.environ.get("CI") else 0
        scene = fixture.Scene(stage, binaries)
        gateway, _ = scene.gateway("vaultgate")
        generator = Generator(binaries, gateway.ca)
        measured = Target("vaultgate", gateway.url, [gateway.pid], gateway.token_file)
        paths = stage.write("targets", "".join(f"{target(f'v{n}')}\n" for n in range(VAULTS)))

        def ask(requests):
            result = generator.load(measured, target(), requests=requests, targets=paths,
                                    connections=arguments.connections)
            for status, count in result["bad_statuses"].items():
                print(f"{count} answers of status {status}")
            return result["bad"]

        bad = ask(arguments.warm)
        samples = [[0, round(settled(gateway.pid), 2), round(pss_mib([gateway.pid]), 2)]]
        for number in range(1, SAMPLES + 1):
            bad += ask(arguments.requests // SAMPLES)
            samples.append([number * (arguments.requests // SAMPLES),
                            round(settled(gateway.pid), 2), round(pss_mib([gateway.pid]), 2)])
            print(f"{samples[-1][0]:>9} requests: {samples[-1][1]:.2f} MiB of its own, "
                  f"{samples[-1][2]:.2f} MiB PSS", flush=True)
        for record in fixture.denials(gateway) if bad else []:
            print(f"denied: {record}")
    grown = grown_mib(samples)
    fine = grown <= arguments.limit and bad == 0
    print(f"grew by {grown:+.2f} MiB over {samples[-1][0]} requests (at most {arguments.limit}); {bad} bad answers")
    if arguments.json:
        result = {"command": " ".join(["tests/bench/memory.py", *sys.argv[1:]]),
                  "commit": executables.commit(), "warm": arguments.warm, "limit_mb": arguments.limit,
                  "grown_mb": round(grown, 2), "bad": bad, "samples": samples}
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(result, out)
            out.write("\n")
    print(f"memory: {int(fine)} passed, {int(not fine)} failed")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
