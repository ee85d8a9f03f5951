"""Answers cut in every framing, and what is repeated after a cut.

An answer's end is known by its length, by its last chunk or by the end of the connection. In
each of them a part is never taken for the whole. A caller who repeats a change under its
idempotency key after a cut does not make it happen twice.
"""

import concurrent.futures
import time
import uuid

import hostile_bytes as raw
from hostile_arm import CLOSE, RESET, SHUT, STALL
from stage import hold
from world import until

BODY = raw.json_body(value=[{"name": "a"}, {"name": "b"}])
AT_ONCE = 24
CONNECTION = "the end of the connection"


def framings(body, status="200 OK"):
    opening = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n".encode()
    halves = body[:len(body) // 2], body[len(body) // 2:]
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(half), half) for half in halves)
    chunked = opening + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    return {
        "chunks": chunked + b"0\r\n\r\n",
        "chunks and trailers": chunked + b"0\r\nx-a: b\r\n\r\n",
        "a length after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + raw.answer(body, status),
        CONNECTION: opening + b"\r\n" + body,
    }


def parts(step, body, status="200 OK"):
    """Where each answer is cut, and how."""
    for name, whole in framings(body, status).items():
        for place in sorted({*range(step // 2, len(whole), step), len(whole) - 1}):
            yield name, whole[:place], CLOSE
            yield name, whole[:place], RESET
            # With the end of the connection as the end, TLS vouches for a part.
            if name != CONNECTION or place <= whole.index(b"\r\n\r\n") + 3:
                yield name, whole[:place], SHUT
            if place % (6 * step) == step // 2:
                yield name, whole[:place], STALL
    # All of it, but TLS was not ended: somebody may have cut off the rest.
    yield CONNECTION, whole, CLOSE
    yield CONNECTION, whole, RESET


def reads(play, step):
    def one(job):
        number, (name, part, end) = job
        vault = f"h-part-{number}"
        play.arm.trap(vault, part, end)
        status, _, body = play.read(vault)
        hold(status == 502, f"{name}: {end} after {len(part)} bytes: answered {status} {body!r}")
        sent = len(play.arm.requests(vault))
        hold(1 <= sent <= 3, f"a read was sent {sent} times")

    return f"{len(together(one, parts(step, BODY)))} cuts"


def changes(play, step):
    """One that got no whole answer is sent once, is `unknown`, and its repetition under the
    same key is refused without being sent."""
    def one(job):
        number, (name, part, end) = job
        vault, key, what = f"h-partly-{number}", str(uuid.uuid4()), f"{name}: {end} after {len(part)} bytes"
        play.arm.trap(vault, part, end)
        status, headers, body = play.change(vault, key)
        hold(status == 502, f"{what}: answered {status} {body!r}")
        status, _, body = play.change(vault, key)
        hold(status == 409, f"{what}: repeated and answered {status} {body!r}")
        # On a crowded machine the time may be over before anything is read here.
        sent = play.arm.requests(vault, method="POST")
        hold(len(sent) <= 1, f"{what}: sent {len(sent)} times")
        return headers["x-vaultgate-decision-id"], len(sent)

    done = together(one, parts(2 * step, raw.json_body(name="job"), "202 Accepted"))
    hold(sum(sent for _, sent in done) >= len(done) / 2, f"few were sent at all: {done}")

    became = outcomes(play, [decision for decision, sent in done if sent])
    hold(became == {"unknown"}, f"the log says {became} of changes without a whole answer")
    return f"{len(done)} cuts"


def unread(play):
    """Reset before the request was read: sent once all the same."""
    play.arm.trap("h-unread", RESET)
    status, headers, _ = play.change("h-unread")
    hold(status == 502 and play.outcome(headers) == "unknown", f"answered {status}")
    hold(len(play.arm.requests("h-unread", method="POST")) == 1, "a change was sent again")


def dripped(play):
    """A byte now and then: the time is that of the whole answer, not of the next byte."""
    def drip(_):
        time.sleep(0.1)
        return b" "

    play.arm.trap("h-drip", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}", *[drip] * 88)
    began = time.monotonic()
    status, _, body = play.read("h-drip")
    took = time.monotonic() - began
    hold(status == 502, f"answered {status} {body!r}")
    # Three tries of a second, and what a busy machine adds.
    hold(took < 8, f"an answer after {took:.1f} s")
    return f"given up after {took:.1f} s"


def outcomes(play, decisions):
    """What the log says became of them; read once, since a log is long."""
    def there():
        found = {r["decision"]: r["outcome"] for r in play.world.records() if r["kind"] == "outcome"}
        return found if all(decision in found for decision in decisions) else None

    found = until("the outcomes", there)
    return {found[decision] for decision in decisions}


def together(one, jobs):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as workers:
        return list(workers.map(one, enumerate(jobs)))
