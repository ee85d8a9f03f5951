"""Two principals on the same connections to a hostile Azure, and the balance of a whole run.

Beside answers that have another one behind them, somebody else asks, at the same time and on
the same kept connections: what is answered to that caller is the answer to its own request.
At the end everything that was sent is compared with the log.
"""

import concurrent.futures
import json
import subprocess
import sys

import hostile_bytes as raw
from hostile_arm import CLOSE
from stage import hold
from world import REPOSITORY, until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
# What comes before the answer that nobody asked for.
BEFORE = {
    "a length": raw.answer(b"{}"),
    "chunks": CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks beside a length": CHUNKED + b"Content-Length: 400\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and trailers": CHUNKED + b"\r\n2\r\n{}\r\n0\r\na: b\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\nContent-Length: 40\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 40\r\n\r\n",
    "a length that is short": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}   ",
    "HTTP/1.0 kept alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    "half of another": raw.answer(b"{}") + b"HTTP/1.1 200 OK\r\n",
}
SECOND = raw.answer(raw.json_body(mine="smuggled"))
VICTIMS = 3


def beside(play, rounds):
    """Attackers and victims in one crowd."""
    jobs = []
    for turn in range(rounds):
        for number, first in enumerate(BEFORE.values()):
            play.arm.trap(f"h-first-{number}", first + SECOND)
            jobs.append((f"h-first-{number}", "operator"))
            for victim in (f"h-own-{turn}-{number}-{n}" for n in range(VICTIMS)):
                play.arm.trap(victim, raw.answer(raw.json_body(mine=victim)))
                jobs.append((victim, "reader"))

    def one(job):
        vault, who = job
        return vault, who, *play.read(vault, who)

    with concurrent.futures.ThreadPoolExecutor(16) as workers:
        found = list(workers.map(one, jobs))
    for vault, who, status, _, body in found:
        hold(b"smuggled" not in body, f"{vault} was answered with what was smuggled: {body!r}")
        if who == "reader":
            hold(status == 200 and json.loads(body) == {"mine": vault}, f"{vault} met {status} {body!r}")
    used = [r.connection for r in play.arm.asked if (r.vault or "").startswith("h-own-")]
    kept = len(used) - len(set(used))
    # Were each request on a connection of its own, this would show nothing.
    hold(kept > 0, "no connection was used twice")
    return f"{len(found)} requests, {kept} on connections that had answered others"


def broken(play):
    """A connection that was broken under one caller is not another's trouble."""
    play.arm.trap("h-broken", CLOSE)
    play.arm.trap("h-unbroken", raw.answer(raw.json_body(mine="h-unbroken")))
    for _ in range(4):
        play.read("h-broken")
        status, _, body = play.read("h-unbroken", "reader")
        hold(status == 200, f"the next caller met {status} {body!r}")


def balance(play):
    """Whatever was sent for a caller stands in the log, as it was sent, a change once; and
    what was allowed has one outcome."""
    def records(kind):
        return [r for r in play.world.records() if r["kind"] == kind]

    allowed = {r["id"]: r for r in records("decision") if r["verdict"] == "allow"}
    sent = {}
    for request in list(play.arm.asked):
        if request.identity == "operator":
            sent.setdefault(request.headers["x-ms-client-request-id"], []).append(request)
    for decision, requests in sent.items():
        hold(decision in allowed, f"{requests[0].method} {requests[0].target} was sent without a record")
        lines = {(r.method, r.target, r.body) for r in requests}
        hold(len(lines) == 1, f"{decision} became several requests: {lines}")
        most = 3 if requests[0].method == "GET" else 1
        hold(len(requests) <= most, f"{requests[0].method} of {decision} was sent {len(requests)} times")

    def outcomes():
        # Later ones tell how an operation ended; they have no duration.
        found = [r["decision"] for r in records("outcome") if "duration_ms" in r]
        return found if set(found) >= set(allowed) else None

    found = until("every outcome", outcomes)
    hold(len(found) == len(set(found)), f"{len(found)} outcomes of {len(set(found))} decisions")
    return f"{len(allowed)} decisions, {sum(map(len, sent.values()))} requests"


def second_verifier(play):
    """The log by a reader in another language."""
    env = play.world.env
    command = [sys.executable, REPOSITORY / "tests/oracle/verify_log.py", play.world.log,
               "--key", env["VAULTGATE_LOG_KEY"], "--anchor", env["VAULTGATE_ANCHOR"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # What was written after the last checkpoint is not vouched for yet.
    hold(done.returncode in (0, 3), done.stdout[-2000:] + done.stderr[-500:])
    return done.stdout.splitlines()[0]
