#!/usr/bin/env python3
"""docs/performance.md and its plots, from the data of the last runs and from nothing else.

  tests/bench/report.py [--check]

Reads docs/performance/{targets,layers,decisions,flame,instructions,growth,memory,flows}.json; a file that is
missing is a section that says so. `--check` writes nothing and fails when the document or a plot is not
what the data gives.
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import svg  # noqa: E402
from stage import ROOT  # noqa: E402

DOCS = os.path.join(ROOT, "docs")
DATA = os.path.join(DOCS, "performance")
PLOTS = os.path.join(DOCS, "plots")

OPENING = """# Performance

Written by `tests/bench/report.py` from the files in [performance/](performance): change the
data by running the benchmark, not this text. One command runs everything and writes it anew:

```sh
tests/bench/all
```

Machines are noisy and absolute figures differ from run to run, so **read the ratios**: each
is taken within one round, in which all targets are measured in turn. Brackets hold the least
and the most of the rounds; where a bracket contains 1.0, no difference was shown. CPU is user
and system time of the target's whole process tree for each request that was answered.
"""

CLOSING = """## What is not covered

- Real Azure: the upstream is a local server with a fixed answer, so its latency is nil.
- Changes, restores and whatever gathers facts: every measured request is a read with one
  token that was verified before, unless a row says otherwise.
- HTTP/2, several gateways on one log host, more than the processors named above, and
  networks other than loopback.
- Full TLS handshakes: all connections are kept alive.
- A real Open Policy Agent beside Envoy (its engine alone is measured above). The authorizer there is a small Rust server that checks a
  cached token and evaluates the shipped Rego; it writes no record. It is a lower bound.
- No peer writes a durable record: the gateway does for every request, before it forwards.
- Latency at 200 requests a second is told with the machine's noise in it; differences of p99
  below 2 ms mean nothing here. On a shared machine it is never a gate.
"""


def table(head, rows):
    """A Markdown table; the first column is text, the others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def bracket(pair):
    return f"[{pair[0]:g}, {pair[1]:g}]"


def source(data, more=""):
    return f"`{data['command']}`, commit `{data['commit']}`{more}.\n"


def targets(data):
    rows, cells = data["targets"], []
    for row in rows:
        name = f"**{row['name']}**" if row["name"] == "vaultgate" else row["name"]
        cells.append([
            name, f"{row['cpu_vs_floor']:.2f} {bracket(row['cpu_vs_floor_spread'])}",
            row["cpu_us_per_request"], f"{row['rps_vs_floor']:.2f}", row["rps"], row["p50_us"],
            f"{row['p50_added_us']:.0f}", row["p99_us"], row["rss_mb"]])
    plot = svg.bars("CPU per request, as a multiple of the floor's", [
        (row["name"], row["cpu_vs_floor"], *row["cpu_vs_floor_spread"], row["name"] == "vaultgate")
        for row in rows])
    processors = data["processors"]
    apart = "shared with" if processors["shared"] else "apart from those of"
    product = next(row for row in rows if row["name"] == "vaultgate")
    added = product["p50_added_us"] / 1000
    beyond = (product["p50_added_us"] - data["fdatasync_us"]) / 1000
    aims = [[aim["what"], f"{aim['measured']:.2f}", f"at most {aim['limit']:g}",
             "held" if aim["measured"] <= aim["limit"] else "**not held**"] for aim in data["aims"]]
    absent = "".join(f"- `{name}` was not run: {why}.\n" for name, why in data["not_run"].items())
    return f"""## Beside other proxies

{source(data, f"; {data['rounds']} rounds of {data['seconds']:g} s, {data['connections']} connections")}
`floor` is raw hyper from TLS to TLS without a single check. Every target has the same
certificate, upstream over TLS 1.3 and token (RS256), and {processors['target']} processors,
{apart} the generator. Authenticating peers were seen to answer 200 to a good token, 401 to none
and to a bad signature. The authorizer's CPU and memory count as Envoy's.

![CPU per request](plots/targets.svg)

{table(["target", "CPU / floor", "CPU us", "req/s / floor", "req/s", "p50 us at 200/s", "p50 added us", "p99 us", "PSS MiB"], cells)}

The generator alone reaches {data['generator_rps']:,} req/s. One write of 1 KiB with fdatasync
took {data['fdatasync_us']} us in the same run; the gateway adds {added:.2f} ms to the median, which
is that {beyond:+.2f} ms.
{absent}
{table(["aim", "measured", "limit", ""], aims)}
""", {"targets.svg": plot}


def layers(data):
    cells = []
    for row in data["layers"]:
        step = f"{row['step_us']:+.1f} {bracket(row['step_us_spread'])}" if "step_us" in row else ""
        waits = f"{row['step_p50_us']:+.0f}" if "step_us" in row else ""
        cells.append([row["name"], row["cpu_us_per_request"],
                      f"{row['cpu_vs_floor']:.2f} {bracket(row['cpu_vs_floor_spread'])}", step,
                      row["p50_us"], waits, row.get("step_from", "")])
    plot = svg.bars("CPU per request by layer, as a multiple of the floor's", [
        (row["name"], row["cpu_vs_floor"], *row["cpu_vs_floor_spread"], "gateway" in row["name"])
        for row in data["layers"]])
    return f"""## By layer

{source(data, f"; {data['rounds']} rounds of {data['seconds']:g} s")}
The first rows are the floor with one layer after the other switched on: what is needed at
least for a cached token, the shipped Rego and a record in the product's own log. The last rows
are the whole gateway with about the shortest policy, with the one that ships, and with its log
(and store) in memory.

![CPU by layer](plots/layers.svg)

{table(["layer", "CPU us", "CPU / floor", "step us", "p50 us at 200/s", "step us", "step from"], cells)}

One write of 1 KiB with fdatasync took {data['fdatasync_us']} us.
""", {"layers.svg": plot}


def decisions(data):
    cells = [[f"{row['size']:,} bindings, {row['asked']}", row["engine"], row["p50_us"], row["p99_us"],
              f"{row['times_faster']:.2f} {bracket(row['times_faster_spread'])}"] for row in data["decisions"]]
    replay = data["replay"]
    told = replay["told"]
    text = f"""## Decisions, beside Open Policy Agent

{source(data, " (the first row of the reloads: of its successor)")}
The policy library with so many role bindings, asked the same inputs in turn: by the interpreter, by the
bytecode machine (which takes reads and snapshots) and by Open Policy Agent's own engine through its Python
bindings, less what asking a rule without a body costs there. From an input that was read to the decision;
the last column is Open Policy Agent's p50 over this one's, round by round. Aims: 1.5 for the interpreter
(held for changes on 1,000 bindings only), 6 for the machine (missed). Each is flat in the number of bindings.

{table(["asked", "engine", "p50 us", "p99 us", "times faster"], cells)}

A replay of {replay["records"]:,} recorded decisions under 1,000 bindings took {replay["seconds"]} s on
{replay["processors"]} processors: {told["judged"]:,} judged, {len(told["flips"])} changed verdicts, {told["reworded"]} for
other reasons (aim: three minutes, and no difference under the same bundle).

"""
    for row in data["reload"]:
        text += (f"- {row['reloads']:,} reloads of {row['bindings']:,} bindings more in {row['seconds']} s under a steady "
                 f"load: {row['bad']} of {row['requests']:,} requests refused, {row['of_no_one_bundle']} records that do "
                 "not name one bundle that was in force")
        if "calm_ms" in row:
            calm, busy = row["calm_ms"], row["reloading_ms"]
            text += (f"; latency ms calm and reloading: p50 {calm['p50']} and {busy['p50']}, p99 {calm['p99']} and "
                     f"{busy['p99']}, most {calm['most']} and {busy['most']}, on two processors that both do")
        text += "\n"
    return text, {}


def growth(data):
    plots, parts = {}, []
    things = list(dict.fromkeys(row["what"] for row in data["growth"]))
    cells = [[row["what"], f"{row['size']:,}", f"{row['cpu_us']} {bracket(row['cpu_us_spread'])}",
              f"{row['vs_smallest']:.2f} {bracket(row['vs_smallest_spread'])}", row["p50_us"],
              row["pss_mb"], row.get("start_seconds", "")] for row in data["growth"]]
    for thing in things:
        points = [(row["size"], row["vs_smallest"], *row["vs_smallest_spread"])
                  for row in data["growth"] if row["what"] == thing]
        parts.append((thing, points))
    if parts:
        plots["growth.svg"] = svg.lines("CPU per request against the smallest size",
                                        "multiple of the smallest size's", dict(parts))
    said = "".join(f"- {what}: {verdict}\n" for what, verdict in data["verdicts"].items())
    text = f"""## As things grow

{source(data, f"; {data['rounds']} rounds of {data['requests']} requests for each size")}
`records` are in the log before the run (copies of what the gateway wrote, put there by its own
writer), `principals` ask in turn, `principals known` have asked before while one goes on asking,
`vaults` are named in turn, `connections` are open and used in turn, ten requests at a time.
`started in` is the very first start on that log: all of its records are newer than any checkpoint, so
each is hashed, signed and counted anew. A start as it happens in life is held to two seconds on a million
records by the suite `restart` ([reliability.md](reliability.md)).

![CPU as things grow](plots/growth.svg)

{table(["what", "size", "CPU us", "CPU / smallest", "p50 us", "PSS MiB", "started in s"], cells)}

{said}"""
    if data["durability"]:
        more, plot = durability(data["durability"])
        text += more
        plots["durability.svg"] = plot
    return text, plots


def durability(rows):
    shown = lambda value: "not counted" if value is None else value
    cells = [[row["log_in"], row["connections"], row["rps"], row["cpu_us"], row["p50_us"],
              shown(row["wait_us"]), shown(row["records_per_sync"])] for row in rows]
    places = list(dict.fromkeys(row["log_in"] for row in rows))
    series = {f"log on {place}" if place == "disk" else f"log in {place}": [
        (row["connections"], row["wait_us"] or 0, row["wait_us"] or 0, row["wait_us"] or 0)
        for row in rows if row["log_in"] == place] for place in places}
    plot = svg.lines("Mean wait of a decision for its record", "microseconds, by requests at once",
                     series)
    return f"""
### The price of durability alone

The same gateway with its log on the disk and in memory. `wait` is the mean time from a record's
being handed over to its being durable, queue and sync together; `records for each sync` counts
the process's fdatasync calls.

![Wait for the record](plots/durability.svg)

{table(["log", "requests at once", "req/s", "CPU us", "p50 us", "wait us", "records for each sync"], cells)}
""", plot


def memory(data):
    cells = [[f"{count:,}", own, pss] for count, own, pss in data["samples"]]
    plot = svg.samples("Memory of its own over requests", "MiB",
                       [(count, own) for count, own, _ in data["samples"]])
    held = "held" if data["grown_mb"] <= data["limit_mb"] else "**not held**"
    return f"""## Memory

{source(data, f"; after {data['warm']:,} requests of warm-up")}
It grew by {data['grown_mb']:+.2f} MiB over {data['samples'][-1][0]:,} requests through TLS; at most
{data['limit_mb']:g} MiB is the aim: {held}.

![Memory](plots/memory.svg)

{table(["requests", "own MiB", "PSS MiB"], cells)}
""", {"memory.svg": plot}


def flame(data):
    cells = [[name, f"{100 * share:.1f} %"] for name, share in data["shares"].items()]
    return f"""## Where the time goes

{source(data, f"; {data['cpu_seconds']:g} s of processor time")}
The [flame graph](performance/flame.svg) opens in a browser. A stack counts for the first of these
that one of its functions belongs to:

{table(["part", "of the processor time"], cells)}
""", {}


def instructions(data):
    return f"""## Instructions

{source(data)}
One cached read through TLS, policy, both records and the request to Azure costs the whole gateway
**{data['instructions_per_request']:,} instructions**, counted by callgrind ({data['machine']}, {data['rustc']}).
Unlike times they are the same on every machine: `tests/run instructions` fails beyond
{100 * data['tolerance']:.0f} % more.
""", {}


def between(found, unit=""):
    """A median with the least and the most of the rounds, or one figure."""
    if not isinstance(found, dict):
        return f"{found:g}{unit}"
    return f"{found['median']:g}{unit} [{found['least']:g}, {found['most']:g}]"


def flows(data):
    of = lambda what: [row for row in data["flows"] if row["what"] == what]
    started = [row for row in data["flows"] if "who" in row and "seconds" in row]
    starts = [[f"{row['who']}: {row['what']}", between(row["seconds"])] for row in started]
    weighs = [[row["who"], row["rss_mb"], row["pss_mb"]] for row in of("memory")]
    runs = [[row["who"], between(row["rate"]), between(row["cpu_ms_per_run"]),
             between(row["times_slower"]) if "times_slower" in row else "",
             between(row["times_cpu"]) if "times_cpu" in row else ""] for row in of("flow runs a second")]
    columns = ("backups", "item_lists", "job_lists", "pages", "others", "facts", "followed", "seconds",
               "items_per_second", "cpu_ms_per_item", "most_mb")
    calls = [[f"{row['items']:,} in {row['vaults']}" + (f", {row['runs']} runs" if row["runs"] > 1 else ""),
              *(row[column] for column in columns)] for row in of("requests") + of("sustained")]
    head = ["items, vaults", "backups", "item lists", "job lists", "more pages", "others", "facts", "followed", "s",
            "items/s", "CPU ms/item", "most MiB"]
    aims = [[aim["what"], aim["measured"], f"at {'least' if aim.get('at_least') else 'most'} {aim['limit']:g}",
             "held" if aim["held"] else "**not held**"] for aim in data["aims"]]
    absent = "".join(f"- {name} was not run: {why}.\n" for name, why in data["not_run"].items())
    return f"""## Scheduled flows, beside Prefect

{source(data, f"; {data['rounds']} rounds, {data['processors']} processors for everything")}
The orchestrator's backups go through the gateway and reach the emulator; so do those of Prefect's runs of one item, by
the package that is shipped for it. A run is one region with one item, which waits a second for its job. In the
orchestrator a hundred regions do so at a time (20 with `--quick`): fewer have a lower rate, each being at most one run
a second. In Prefect each run is a process, eight at a time, which is more than the processors can do. CPU is that of
the orchestrator, and of Prefect's server, worker and flow processes together; gateway and emulator count for neither.

{table(["started", "seconds"], starts)}

{table(["memory of", "RSS MiB", "PSS MiB"], weighs)}

{table(["flow runs", "a second", "CPU ms each", "times slower", "times the CPU"], runs)}

What reached Azure, by the number of items in so many vaults. Lists are counted by their first page: the emulator's
pages hold 10 jobs, or 50 items. A region has at most 100 items under way, so that a thousand in one vault are
looked at ten times as long. `facts` and `followed` are the gateway's own: what its policy asks for, and how operations
end that it has let through.

{table(head, calls)}

{absent}
{table(["aim", "measured", "limit", ""], aims)}
""", {}


SECTIONS = {"targets": targets, "layers": layers, "decisions": decisions, "flame": flame, "instructions": instructions, "growth": growth,
            "memory": memory, "flows": flows}


def generated():
    """Every file that the data gives, by its path below docs/."""
    text, files = [OPENING], {}
    for name, section in SECTIONS.items():
        path = os.path.join(DATA, f"{name}.json")
        if not os.path.exists(path):
            text.append(f"## {name.capitalize()}\n\nNot run: there is no `docs/performance/{name}.json`.\n")
            continue
        with open(path, encoding="utf-8") as data:
            part, plots = section(json.load(data))
        text.append(part)
        files.update({f"plots/{plot}": content for plot, content in plots.items()})
    files["performance.md"] = "\n".join([*text, CLOSING])
    return files


def stale(files):
    """Files that are missing, differ, or are there without data."""
    found = []
    for name, content in files.items():
        path = os.path.join(DOCS, name)
        if not os.path.exists(path) or open(path, encoding="utf-8").read() != content:
            found.append(name)
    there = os.listdir(PLOTS) if os.path.isdir(PLOTS) else []
    return found + [f"plots/{name}" for name in there if f"plots/{name}" not in files]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    files = generated()
    if parser.parse_args().check:
        wrong = stale(files)
        for name in wrong:
            print(f"FAILED docs/{name} is not what the data gives; hint: tests/bench/report.py")
        print(f"report: {len(files) - len(wrong) if len(wrong) < len(files) else 0} passed, {len(wrong)} failed")
        return 1 if wrong else 0
    os.makedirs(PLOTS, exist_ok=True)
    for name in stale(files):
        if name not in files:
            os.unlink(os.path.join(DOCS, name))
    for name, content in files.items():
        with open(os.path.join(DOCS, name), "w", encoding="utf-8") as out:
            out.write(content)
    print(f"wrote docs/performance.md and {len(files) - 1} plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
