#!/usr/bin/env python3
"""What a request costs as things grow: records in the log, principals, vaults, open
connections; and the price of durability alone.

  tests/bench/growth.py [--quick] [--rounds N] [--only NAME]... [--most-records N] [--json FILE]

For each size there is a gateway of its own, and all sizes of one thing are measured in
turn, round after round, so that a busy minute of the machine hits all of them alike. CPU
is utime+stime of the gateway over the timed window (this kind of machine counts no
instructions). A thing is called flat when the largest size costs at most FLAT times the
smallest.
"""
import argparse
import json
import math
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import binaries as executables  # noqa: E402
import durability  # noqa: E402
import fixture  # noqa: E402
from gateway import target  # noqa: E402
from measure import Generator, Target, spread  # noqa: E402
from stage import Stage, pss_mib  # noqa: E402

# Above this factor from the smallest to the largest size, cost grows.
FLAT = 1.25
# Up to this power of the size it is called logarithmic: four decades then cost 2.5 times.
LOGARITHMIC = 0.1
# Share of refusals that still measures the honest case.
TOLERATED = 0.001
# Requests under way at a time, whatever the size.
ACTIVE = 10
# Where many callers come from.
ADDRESSES = 250


class Arm:
    """One size of one thing: a gateway and the load that it gets."""

    def __init__(self, size, gateway, start_seconds=None, **load):
        self.size, self.gateway, self.start_seconds, self.rounds = size, gateway, start_seconds, []
        self.load = {"connections": ACTIVE, **load}
        self.warm = 2000

    def run(self, generator, requests):
        load = dict(self.load)
        tokens = load.pop("tokens", self.gateway.token_file)
        one = Target(str(self.size), self.gateway.url, [self.gateway.pid], tokens)
        return generator.load(one, target(), requests=requests, **load)


def records(scene, sizes):
    """A log that already holds so many records: copies of what a gateway wrote."""
    return [Arm(size, *fixture.filled(scene, f"records-{size}", size)) for size in sizes]


def principals(scene, sizes):
    """So many callers, who ask in turn from many addresses, since one address may have
    few tokens verified. The largest number has more tokens than are remembered as
    verified, so that each is verified again."""
    found = []
    for size in sizes:
        gateway, _ = scene.gateway(f"principals-{size}")
        tokens = fixture.tokens(scene, gateway, size)
        arm = Arm(size, gateway, tokens=tokens, connections=ADDRESSES, active=ACTIVE,
                  sources=True)
        arm.warm = max(arm.warm, size)
        found.append(arm)
    return found


def known_principals(arms):
    """The same gateways, which know so many callers; one of them asks."""
    return [Arm(arm.size, arm.gateway) for arm in arms]


def vaults(scene, sizes):
    """Requests about so many vaults, in turn."""
    found = []
    for size in sizes:
        gateway, _ = scene.gateway(f"vaults-{size}")
        paths = scene.stage.write(f"vaults-{size}.txt",
                                  "".join(f"{target(f'v{n}')}\n" for n in range(size)))
        arm = Arm(size, gateway, targets=paths)
        arm.warm = max(arm.warm, size)
        found.append(arm)
    return found


def connections(scene, sizes):
    """So many open connections, used in turn, ten requests at a time."""
    found = []
    for size in sizes:
        gateway, _ = scene.gateway(f"connections-{size}")
        found.append(Arm(size, gateway, connections=size, active=ACTIVE))
    return found


def judge(what, arm, result):
    """A load that meets refusals measures refusals. A single one is told, with its record."""
    if not result["bad"]:
        return
    print(f"{what} {arm.size}: requests without success: {result['bad_statuses']}")
    for record in fixture.denials(arm.gateway):
        print(f"denied: {record}")
    if result["bad"] > result["requests"] * TOLERATED:
        sys.exit(1)


def interleaved(what, arms, generator, arguments):
    """Rows of one thing."""
    for arm in arms:
        result = arm.run(generator, arm.warm)
        judge(what, arm, result)
    for number in range(1, arguments.rounds + 1):
        for arm in arms:
            result = arm.run(generator, arguments.requests)
            judge(what, arm, result)
            arm.rounds.append(result)
            print(f"{what} {arm.size:>8} round {number}: {result['cpu_us']:6.1f} us CPU",
                  file=sys.stderr, flush=True)
    found = []
    for arm in arms:
        cpu, cpu_spread = spread([r["cpu_us"] for r in arm.rounds], 1)
        ratio, ratio_spread = spread(
            [a["cpu_us"] / b["cpu_us"] for a, b in zip(arm.rounds, arms[0].rounds)])
        row = {"what": what, "size": arm.size, "cpu_us": cpu, "cpu_us_spread": cpu_spread,
               "vs_smallest": ratio, "vs_smallest_spread": ratio_spread,
               "p50_us": round(statistics.median(r["p50_us"] for r in arm.rounds)),
               "bad": sum(r["bad"] for r in arm.rounds), "pss_mb": round(pss_mib([arm.gateway.pid]), 1)}
        if arm.start_seconds is not None:
            row["start_seconds"] = round(arm.start_seconds, 2)
        found.append(row)
    return found


def verdict(rows):
    """Flat, or by how much it grows: the exponent of the size is 0 for what does not
    depend on it, near 0 for a logarithm, 1 for what is linear."""
    grown = rows[-1]["vs_smallest"]
    if grown <= FLAT:
        return "flat"
    exponent = math.log(grown) / math.log(rows[-1]["size"] / rows[0]["size"])
    kind = "logarithmic" if exponent <= LOGARITHMIC else "grows"
    return f"{kind}, x{grown:.2f} in all (size to the power of {exponent:.2f})"


def powers(first, last, step):
    return [10 ** n for n in range(first, last + 1, step)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, three short rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="of each round and size")
    parser.add_argument("--most-records", type=int, default=1_000_000)
    parser.add_argument("--only", action="append", help="records, principals, vaults, connections, durability")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    most = [arguments.most_records, 100_000, 10_000, 10_000]
    if arguments.quick:
        arguments.rounds, arguments.requests = 3, 2000
        most = [100_000, 10_000, 1_000, 1_000]
    wanted = lambda name: not arguments.only or name in arguments.only
    binaries = executables.folder()
    rows, durable, verdicts = [], [], {}

    def note(found):
        rows.extend(found)
        verdicts[found[0]["what"]] = verdict(found)

    things = (
        ("records", records, [10 ** n for n in range(4, int(math.log10(most[0])) + 1)]),
        ("principals", principals, powers(1, int(math.log10(most[1])), 2)),
        ("vaults", vaults, powers(0, int(math.log10(most[2])), 2)),
        ("connections", connections, powers(1, int(math.log10(most[3])), 1)),
    )
    for name, build, sizes in things:
        if not wanted(name):
            continue
        # A stage each: what was measured does not go on running beside what follows.
        with Stage() as stage:
            scene = fixture.Scene(stage, binaries)
            arms = build(scene, sizes)
            generator = Generator(binaries, arms[0].gateway.ca)
            note(interleaved(name, arms, generator, arguments))
            if name == "principals":
                note(interleaved("principals known", known_principals(arms), generator, arguments))
    if wanted("durability"):
        with Stage() as stage:
            durable = durability.run(fixture.Scene(stage, binaries), arguments)
    for row in rows:
        low, high = row["vs_smallest_spread"]
        print(f"{row['what']:18} {row['size']:>9} {row['cpu_us']:7.1f} us CPU  x{row['vs_smallest']:.2f} "
              f"[{low:.2f}-{high:.2f}]  PSS {row['pss_mb']:6.1f} MiB"
              + (f"  started in {row['start_seconds']:.1f} s" if "start_seconds" in row else ""))
    for what, said in verdicts.items():
        print(f"{what}: {said}")
    durability.table(durable)
    if arguments.json:
        result = {"command": " ".join(["tests/bench/growth.py", *sys.argv[1:]]),
                  "commit": executables.commit(), "rounds": arguments.rounds,
                  "requests": arguments.requests, "growth": rows, "verdicts": verdicts,
                  "durability": durable}
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()
