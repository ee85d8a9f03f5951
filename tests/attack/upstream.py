#!/usr/bin/env python3
"""A hostile Azure, or a hostile front end of it.

    upstream.py [--full] [WORD...]           WORD: only cases whose name holds it

Split, cut, endless, lying and redirecting answers: callers get a whole answer or none, no URL
that leads past the gateway and no header that is not listed; a change is sent once and stands
in the log as what is known of it; one caller's answer is never another's; memory stays
bounded; and the gateway's own Azure token leaves it towards Azure alone. `--full` cuts the
answer at every byte, not at some.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import re
import subprocess
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients"), str(HERE.parent / "corpus")]

import hostile_bytes as raw  # noqa: E402
import upstream_crowd  # noqa: E402
import upstream_cuts  # noqa: E402
import upstream_own  # noqa: E402
from floods import RATES, Report  # noqa: E402
from hostile_arm import CLOSE, RESET, STALL, HostileArm, Lure  # noqa: E402
from meter import Meter  # noqa: E402
from stage import hold  # noqa: E402
from world import API, VAULT, World, item, program  # noqa: E402

QUICK = ("[azure]\n", '[azure]\nread_timeout = "1s"\nchange_timeout = "1s"\n')
# Three tries of 16 MiB each, and what a buffer that doubles takes besides.
MEBIBYTES = 160
AT_ONCE = 24
BACKUP = json.dumps({"properties": {"objectType": "IaasVMBackupRequest"}})
# Everything that may reach a caller.
LISTED = re.compile(r"content-type|content-length|date|etag|retry-after|last-modified|location|"
                    r"azure-asyncoperation|operation-location|connection|vaultgate-.*|x-vaultgate-.*|"
                    r"x-ms-(?:request-id|correlation-request-id|routing-request-id|failure-cause)|"
                    r"x-ms-ratelimit-remaining-.*|x-content-type-options|cache-control")
URL = re.compile(rb"(?:https?:)?//[^\s\"'<>\\]+")
POLLS = ("Location", "Azure-AsyncOperation", "Operation-Location")


class Play:
    """The gateway before the hostile Azure, and everything that callers received."""

    def __init__(self, world, arm, lure):
        self.world, self.arm, self.lure = world, arm, lure
        self.tokens = {name: world.token(name) for name in ("operator", "reader")}
        self.received = bytearray()

    def ask(self, method, path, who="operator", key=None, body=BACKUP):
        """One request on a connection of its own: status, headers, body, or why there is none."""
        parts = urllib.parse.urlsplit(self.world.url)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30,
                                                 context=self.world.context())
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        if key:
            headers["Idempotency-Key"] = key
        if method != "GET":
            headers["Content-Type"] = "application/json"
        with contextlib.closing(connection):
            connection.request(method, path, body=None if method == "GET" else body, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        self.received += f"{answer.status} {answer.reason}\n{answer.headers}".encode() + text
        return answer.status, answer.headers, text

    def read(self, vault, who="operator"):
        return self.ask("GET", f"{VAULT.replace('/v1', f'/{vault}')}/backupJobs?{API}", who)

    def change(self, vault, key=None):
        own = item("vm1", VAULT.replace("/v1", f"/{vault}"))
        return self.ask("POST", f"{own}/backup?{API}", key=key)

    def outcome(self, headers):
        """What the log says became of a decision."""
        found = headers["x-vaultgate-decision-id"]
        self.world.record(found)
        outcomes = [r for r in self.world.records() if r.get("decision") == found and r["kind"] == "outcome"]
        hold(len(outcomes) == 1, f"{len(outcomes)} outcomes of {found}")
        return outcomes[0]["outcome"]


def harmless(play, answer, what):
    """Nothing in an answer leads elsewhere, and no header is there that is not listed."""
    _, headers, body = answer
    strange = [name for name in headers if not LISTED.fullmatch(name.lower())]
    hold(not strange, f"{what}: these headers passed: {strange}")
    # A receipt is base64, in which `//` is a word like any other.
    told = "\n".join(f"{name}: {value}" for name, value in headers.items() if "receipt" not in name.lower())
    for url in URL.findall(told.encode() + b"\n" + body):
        hold(url.startswith(play.world.url.encode()), f"{what}: {url!r} was passed on")


# --- the cases ---------------------------------------------------------------------------

def split(play):
    """Broken framing: refused, or taken as one plain answer with nothing beside it."""
    def one(job):
        number, (name, (steps, allowed)) = job
        vault = f"h-split-{number}"
        play.arm.trap(vault, *steps)
        answer = play.read(vault)
        hold(answer[0] in allowed, f"{name}: answered {answer[0]} {answer[2][:200]!r}")
        harmless(play, answer, name)
        hold(b"smuggled" not in str(answer[1]).encode() + answer[2], f"{name}: {answer[2]!r}")

    everywhere(one, enumerate(raw.SPLIT.items()))
    return f"{len(raw.SPLIT)} answers"


def others_answers(play):
    """A second answer behind the first is nobody's."""
    for number in range(20):
        vault = f"h-two-{number}"
        play.arm.trap(vault, raw.answer(raw.json_body(mine="operator")) + raw.answer(b'{"smuggled":1}'))
        play.arm.trap(f"{vault}x", raw.answer(raw.json_body(mine="reader")))
        play.read(vault)
        for _ in range(3):
            status, _, body = play.read(f"{vault}x", who="reader")
            hold(status in (200, 502), f"answered {status}")
            hold(b"smuggled" not in body and b"operator" not in body, f"got another's answer: {body!r}")


def redirects(play):
    """Followed by nobody here, and leading nowhere else."""
    targets = [f"https://localhost:{play.lure.port}/x", f"http://127.0.0.1:{play.lure.port}/x",
               f"//localhost:{play.lure.port}/x", "file:///etc/passwd",
               f"{play.arm.url}/subscriptions/x/vaults/h-lured?{API}", "/vaults/h-lured"]
    number = 0
    for status in (301, 302, 303, 307, 308):
        for target in targets:
            number += 1
            vault = f"h-to-{number}"
            play.arm.trap(vault, raw.answer(b"", f"{status} Go", f"Location: {target}"))
            for answer in (play.read(vault), play.change(vault)):
                harmless(play, answer, f"{status} to {target}")
            sent = play.arm.requests(vault, method="POST")
            hold(len(sent) == 1, f"a change that was redirected was sent {len(sent)} times")
    hold(play.lure.calls == 0, f"the lure was called {play.lure.calls} times")
    hold(not play.arm.requests("h-lured"), "a redirect was followed")
    return f"{2 * number} redirects"


def oversized(play):
    with Meter(play.world.gateway.pid) as meter:
        for number, (name, steps) in enumerate(raw.oversized().items()):
            vault = f"h-big-{number}"
            play.arm.trap(vault, *steps)
            answer = play.read(vault)
            hold(answer[0] == 502, f"{name}: answered {answer[0]}")
            harmless(play, answer, name)
    hold(meter.grown <= MEBIBYTES, f"memory grew by {meter.grown:.0f} MiB")
    return f"+{meter.grown:.0f} MiB"


def cut_reads(play, step):
    """A read's answer cut at a byte boundary is never taken for whole."""
    whole = raw.answer(raw.json_body(value=[]))
    jobs = [(place, end) for place in range(0, len(whole), step) for end in (CLOSE, RESET)]
    jobs += [(place, STALL) for place in range(0, len(whole), 4 * step)]

    def one(job):
        place, end = job
        vault = f"h-cut-{end}-{place}"
        play.arm.trap(vault, whole[:place], end)
        status, _, body = play.read(vault)
        hold(status == 502, f"{end} after {place} of {len(whole)} bytes: answered {status} {body!r}")

    everywhere(one, jobs)
    play.arm.trap("h-whole", whole)
    hold(play.read("h-whole")[0] == 200, "the whole answer is refused")
    return f"{len(jobs)} cuts of {len(whole)} bytes"


def cut_changes(play, step):
    """A change whose answer was cut was sent once and is `unknown`."""
    whole = raw.answer(b"", "202 Accepted", "x-ms-request-id: 1")
    jobs = [(place, end) for place in range(0, len(whole), step) for end in (CLOSE, RESET)]
    jobs += [(place, STALL) for place in range(0, len(whole), 4 * step)]

    def one(job):
        place, end = job
        vault = f"h-change-{end}-{place}"
        play.arm.trap(vault, whole[:place], end)
        status, headers, body = play.change(vault)
        hold(status == 502, f"{end} after {place} bytes: answered {status} {body!r}")
        sent = play.arm.requests(vault, method="POST")
        hold(len(sent) == 1, f"{end} after {place} bytes: sent {len(sent)} times")
        return headers["x-vaultgate-decision-id"]

    became = upstream_cuts.outcomes(play, everywhere(one, jobs))
    hold(became == {"unknown"}, f"the log says {became} of changes whose answer was cut")
    return f"{len(jobs)} cuts of {len(whole)} bytes"


def everywhere(one, jobs):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as workers:
        return list(workers.map(one, jobs))


def reflected(play):
    """The gateway's own token, written back in every place that an answer has."""
    for number, (name, steps) in enumerate(raw.REFLECTED.items()):
        for method in (play.read, play.change):
            vault = f"h-echo-{number}"
            play.arm.trap(vault, *steps)
            # The reader's, on the way to facts and into the record.
            play.arm.trap(vault, *steps, identity="reader")
            harmless(play, method(vault), name)
    hold(any(token.startswith("azcanary.operator") for token in play.arm.tokens), "no token was seen")
    return f"{len(raw.REFLECTED)} places"


def poisoned(play):
    """URLs in headers and pages."""
    urls = raw.poisoned(play.arm.port, play.lure.port)
    for number, url in enumerate(urls):
        vault = f"h-url-{number}"
        for name in POLLS:
            play.arm.trap(vault, raw.answer(b"", "202 Accepted", f"{name}: {url}"))
            for answer in (play.change(vault), play.read(vault)):
                harmless(play, answer, f"{name}: {url}")
        twice = [f"Location: {url}", f"Location: {play.arm.url}/subscriptions/x?{API}"]
        play.arm.trap(vault, raw.answer(b"", "202 Accepted", *twice))
        harmless(play, play.change(vault), f"two locations, one {url}")
        for page in raw.pages(url):
            play.arm.trap(vault, raw.answer(page))
            status, headers, body = play.read(vault)
            link = URL.search(body) if status == 200 else None
            hold(not link or link[0].startswith(play.world.url.encode()),
                 f"{page!r}: {body!r} was passed on")
            harmless(play, (status, headers, b""), url)
    return f"{len(urls)} URLs"


def honest_page(play):
    """A page of the pinned host goes on, at the gateway: what is judged above is no accident."""
    link = f"{play.arm.url}{VAULT}/backupJobs?{API}&$skipToken=a"
    play.arm.trap("h-page", raw.answer(raw.json_body(value=[], nextLink=link)))
    status, _, body = play.read("h-page")
    hold(status == 200 and json.loads(body)["nextLink"].startswith(play.world.url), f"{status} {body!r}")


def unlisted(play):
    play.arm.trap("h-headers", raw.answer(raw.json_body(value=[]), "200 OK", *raw.UNLISTED))
    for answer in (play.read("h-headers"), play.change("h-headers")):
        hold(answer[0] == 200, f"answered {answer[0]}")
        harmless(play, answer, "unlisted")


def canary(play):
    """The gateway's own token is in nothing that left it, but on the way to Azure."""
    world = play.world
    places = {"answers": bytes(play.received), "metrics": world.metrics(),
              "console": world.console_text().encode()}
    places |= {str(path): path.read_bytes() for path in world.log.rglob("*") if path.is_file()}
    found = [name for name, text in places.items() if b"azcanary" in text]
    hold(len(play.received) > 100_000, "no answers were kept: the search proves nothing")
    hold(not found, f"an Azure token stands in {found}")


def whole(play):
    """Still serving, and the log is in order."""
    play.arm.traps.clear()
    hold(play.read("v1")[0] == 200, "a read of an honest Azure is refused")
    hold("panicked at" not in play.world.console_text(), "it panicked")
    play.world.stop_gateway()
    env = play.world.env
    command = [program("vaultgate"), "log", "verify", play.world.log, "--key", env["VAULTGATE_LOG_KEY"],
               "--anchor", env["VAULTGATE_ANCHOR"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    hold(done.returncode == 0, done.stdout + done.stderr)
    return done.stdout.splitlines()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="cut at every byte")
    parser.add_argument("words", nargs="*", metavar="WORD")
    chosen = parser.parse_args()
    report = Report(chosen.words)
    step = 1 if chosen.full else 7
    world = World.between(HostileArm, extra=RATES, replace=[QUICK, upstream_own.QUICK])
    with world, contextlib.closing(world.front) as arm, contextlib.closing(Lure()) as lure:
        play = Play(world, arm, lure)
        # Beside everything else: nobody but the gateway itself reads these lists.
        lies = concurrent.futures.ThreadPoolExecutor(1).submit(upstream_own.told, play)
        for case in (honest_page, split, others_answers, redirects, oversized, reflected, poisoned,
                     unlisted):
            report.case(case.__name__.replace("_", "-"), lambda: case(play))
        report.case("own-reads-told", lies.result)
        for case in upstream_own.CASES:
            report.case(f"own-reads-{case.__name__}", lambda: case(play))
        report.case("crowd", lambda: upstream_crowd.beside(play, 20 if chosen.full else 3))
        report.case("crowd-broken", lambda: upstream_crowd.broken(play))
        report.case("framed-reads", lambda: upstream_cuts.reads(play, 1 if chosen.full else 23))
        report.case("framed-changes", lambda: upstream_cuts.changes(play, 1 if chosen.full else 23))
        report.case("unread", lambda: upstream_cuts.unread(play))
        report.case("dripped", lambda: upstream_cuts.dripped(play))
        report.case("cut-reads", lambda: cut_reads(play, step))
        report.case("cut-changes", lambda: cut_changes(play, step))
        if not chosen.words:
            report.case("canary", lambda: canary(play))
        report.case("balance", lambda: upstream_crowd.balance(play))
        report.case("whole", lambda: whole(play))
        report.case("second-verifier", lambda: upstream_crowd.second_verifier(play))
    print(f"upstream: {report.passed} passed, {report.failed} failed")
    return 0 if report.failed == 0 and report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
