#!/usr/bin/env python3
"""Where the gateway's processor time goes: a flame graph of the hot path, and its shares.

  tests/bench/flame.py [--seconds S]

Builds the executables with frame pointers, loads the gateway as `tests/bench/run` does, and
samples it with `perf record`; stacks are folded and drawn by inferno. Writes
docs/performance/flame.svg and docs/performance/flame.json; `tests/bench/report.py` puts them into
the document. A stack counts for the first part below that any of its functions belongs to.
"""
import argparse
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import binaries as executables  # noqa: E402
import gateway  # noqa: E402
from measure import Generator, Target  # noqa: E402
from stage import CACHE, ROOT, Stage, free_port  # noqa: E402

INFERNO = "0.12.8"
CONNECTIONS = 32
# Parts of a request, by functions that stand in the stack: the innermost meaning first.
PARTS = [
    ("Rego: evaluation", ("regorus",)),
    ("the policy's input: built, read and written", ("vaultgate_pdp", "vaultgate::pipeline::input")),
    ("decision log: records, hashing, write and sync", ("vaultgate_decision_log", "vaultgate::recorder")),
    ("TLS, both sides", ("rustls", "aws_lc")),
    ("authentication", ("vaultgate::authn",)),
    ("the request understood", ("vaultgate_arm",)),
    ("counters and limits", ("vaultgate::activity", "vaultgate::admit")),
    ("Azure's answer", ("vaultgate::upstream", "vaultgate::pipeline::conclude", "vaultgate::custody")),
    ("HTTP, both sides", ("hyper", "h2::", "httparse")),
    ("the pipeline itself", ("vaultgate::",)),
    ("runtime", ("tokio", "mio::")),
]


def built():
    """Executables with frame pointers and names."""
    target = os.path.join(CACHE, "flame")
    flags = [flag for name in executables.PROGRAMS for flag in ("-p", name)]
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", *flags], cwd=ROOT, check=True,
                   env={**os.environ, "CARGO_TARGET_DIR": target, "CARGO_PROFILE_RELEASE_STRIP": "none",
                        "RUSTFLAGS": "-Cforce-frame-pointers=yes"})
    return os.path.join(target, "release")


def inferno():
    """The folder of inferno's programs, built once."""
    tools = os.path.join(CACHE, "tools")
    if not os.access(os.path.join(tools, "bin/inferno-flamegraph"), os.X_OK):
        subprocess.run(["cargo", "install", "--quiet", "inferno", "--locked", "--version", INFERNO,
                        "--root", tools], check=True)
    return os.path.join(tools, "bin")


def sampled(stage, binaries, seconds):
    """What `perf record` saw of the gateway under load."""
    port, plain = free_port(), free_port()
    product = gateway.Gateway(stage, binaries, "vaultgate", f"https://localhost:{port}")
    upstream = stage.start("upstream", [
        os.path.join(binaries, "vaultgate-bench"), "upstream", "--listen", f"127.0.0.1:{port}",
        "--plain", f"127.0.0.1:{plain}", "--cert", product.cert, "--key", product.key], {0})
    stage.wait_for_port(port, upstream)
    target = Target("vaultgate", product.url, [product.pid], product.token_file)
    generator = Generator(binaries, product.ca)
    generator.load(target, gateway.target(), seconds=2, connections=CONNECTIONS)
    load = threading.Thread(target=generator.load, args=(target, gateway.target()),
                            kwargs={"seconds": seconds + 2, "connections": CONNECTIONS})
    load.start()
    data = stage.path("perf.data")
    subprocess.run(["perf", "record", "--quiet", "-e", "cpu-clock", "-F", "999", "-g", "-o", data,
                    "-p", str(product.pid), "--", "sleep", str(seconds)], check=True)
    load.join()
    return data


def folded(tools, data):
    script = subprocess.run(["perf", "script", "-i", data], check=True, capture_output=True)
    collapse = [os.path.join(tools, "inferno-collapse-perf"), "--quiet"]
    return subprocess.run(collapse, input=script.stdout, check=True, capture_output=True).stdout


def drawn(tools, stacks):
    title = "CPU of the gateway: reads through TLS, the shipped policy, a durable record each"
    command = [os.path.join(tools, "inferno-flamegraph"), "--title", title, "--minwidth", "0.3"]
    svg = subprocess.run(command, input=stacks, check=True, capture_output=True).stdout
    with open(os.path.join(ROOT, "docs/performance/flame.svg"), "wb") as out:
        out.write(svg)


def shares(stacks):
    """The share of the time that falls to each part, and all of it in seconds."""
    counts = dict.fromkeys([name for name, _ in PARTS] + ["the kernel and the rest"], 0)
    for line in stacks.decode(errors="replace").splitlines():
        stack, number = line.rsplit(" ", 1)
        part = next((name for name, marks in PARTS if any(mark in stack for mark in marks)), None)
        counts[part or "the kernel and the rest"] += int(number)
    total = sum(counts.values())
    # perf weighs samples of the processor's clock by the nanoseconds that each stands for.
    return {name: round(count / total, 3) for name, count in counts.items()}, round(total / 1e9, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="of sampling")
    seconds = parser.parse_args().seconds
    tools, binaries = inferno(), built()
    with Stage(None) as stage:
        stacks = folded(tools, sampled(stage, binaries, seconds))
    drawn(tools, stacks)
    found, seconds = shares(stacks)
    told = {"command": "tests/bench/flame.py", "commit": executables.commit(), "cpu_seconds": seconds, "shares": found}
    with open(os.path.join(ROOT, "docs/performance/flame.json"), "w", encoding="utf-8") as out:
        json.dump(told, out, indent=1)
        out.write("\n")
    for name, share in found.items():
        print(f"{100 * share:5.1f} %  {name}")


if __name__ == "__main__":
    main()
