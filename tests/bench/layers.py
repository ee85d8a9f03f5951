"""The layer table: what each thing that a gateway does costs, one switched on after the
other in the floor, then the whole gateway with and without policy and disk."""
import os
import statistics

import peers
from gateway import Gateway
from measure import Target, against, spread
from stage import MEASURED, free_port

# About the shortest policy that is admitted: what is left is nearly everything but Rego.
ALLOW = '''# For measuring only: readers may do everything.
package vaultgate

import rego.v1

decision := {"allow": allow, "deny": [], "grants": grants, "obligations": []}

default allow := false

allow if count(grants) > 0

grants contains {"role": "reader"} if "backup.reader" in input.principal.roles
'''
MANIFEST = '{"revision": "1", "roots": ["vaultgate"], "rego_version": 1}'
FLOORS = ("floor", "+ JWT, cached", "+ Rego (RVM)", "+ Rego (interpreter)", "+ durable record")
# Which row each one's step is taken from.
BEFORE = {
    "+ JWT, cached": "floor", "+ Rego (RVM)": "+ JWT, cached",
    "+ Rego (interpreter)": "+ JWT, cached", "+ durable record": "+ Rego (RVM)",
    "gateway, allow-all policy": "floor", "gateway": "gateway, allow-all policy",
    "gateway, log in memory": "gateway",
}
MEMORY = "/dev/shm"


def floor(stage, binaries, product, upstream, name, options=()):
    """One floor with these layers on."""
    port = free_port()
    command = [os.path.join(binaries, "vaultgate-bench"), "floor", "--listen", f"127.0.0.1:{port}",
               "--cert", product.cert, "--key", product.key, "--ca", product.ca,
               "--upstream", upstream, *options]
    process = stage.start(name.replace(" ", "-"), command, MEASURED)
    stage.wait_for_port(port, process)
    return Target(name, f"https://localhost:{port}", [process.pid], product.token_file)


def start(stage, binaries, product, upstream_port, memory):
    """Every layer as a target. `memory` is a stage on a disk that is none, or nothing."""
    upstream = f"https://localhost:{upstream_port}"
    known = peers.Peers(stage, binaries, product, upstream_port)
    log = stage.path("floor-log")
    options = {
        "floor": [], "+ JWT, cached": peers.layers(known),
        "+ Rego (RVM)": peers.layers(known, "--policies"),
        "+ Rego (interpreter)": peers.layers(known, "--policies", machine="interpreter"),
        "+ durable record": peers.layers(known, "--policies", log=log),
    }
    found = [floor(stage, binaries, product, upstream, name, options[name]) for name in FLOORS]
    os.makedirs(stage.path("allow-all", "vaultgate"))
    stage.write("allow-all/vaultgate/decision.rego", ALLOW)
    stage.write("allow-all/.manifest", MANIFEST)
    open_door = Gateway(stage, binaries, "allow-all-gateway", upstream, stage.path("allow-all"))
    gateways = {"gateway, allow-all policy": open_door, "gateway": product}
    if memory:
        gateways["gateway, log in memory"] = Gateway(memory, binaries, "in-memory", upstream)
    found += [Target(name, one.url, [one.pid], one.token_file, durable=one.env["VAULTGATE_LOG_DIR"])
              for name, one in gateways.items()]
    return found, gateways


def rows(targets):
    """Cost of each, and of the step from the one before."""
    named = {target.name: target for target in targets}
    found = []
    for target in targets:
        row = {"name": target.name,
               "cpu_us_per_request": round(statistics.median(r["cpu_us"] for r in target.rounds), 1),
               "p50_us": round(statistics.median(r["p50_us"] for r in target.rounds))}
        row["cpu_vs_floor"], row["cpu_vs_floor_spread"] = against(target, named["floor"])
        before = named.get(BEFORE.get(target.name))
        if before:
            pairs = list(zip(target.rounds, before.rounds))
            row["step_from"] = before.name
            row["step_us"], row["step_us_spread"] = spread(
                [a["cpu_us"] - b["cpu_us"] for a, b in pairs], 1)
            row["step_p50_us"], row["step_p50_us_spread"] = spread(
                [a["p50_us"] - b["p50_us"] for a, b in pairs], 0)
        found.append(row)
    return found


def table(found):
    print(f"{'layer':28} {'CPU us/req':>10} {'vs floor':>8} {'step us':>8} {'spread':>15} "
          f"{'p50 us':>7} {'step':>6}  from")
    for row in found:
        low, high = row.get("step_us_spread", ("", ""))
        print(f"{row['name']:28} {row['cpu_us_per_request']:10.1f} {row['cpu_vs_floor']:8.2f} "
              f"{row.get('step_us', ''):>8} {f'{low}..{high}':>15} {row['p50_us']:7} "
              f"{row.get('step_p50_us', ''):>6}  {row.get('step_from', '')}")
