"""An answer that ends early, at every byte of it, in each way in which a connection can end.

A caller never gets a part for the whole, a change is sent once, and what is not known is
recorded as unknown. `close` ends TLS in good order, `cut` ends TCP alone, `reset` resets it,
`stall` says nothing more until the gateway gives up.
"""

import concurrent.futures

from rogue_arm import chunked, encode, response
from rogue_stage import TIMEOUT, Wrong, hold, told

ENDINGS = ("close", "cut", "reset", "stall")
# A part of the boundaries for the slice: every so many, and always the edges of the lines.
EVERY, EVERY_STALL = 83, 167
AT_ONCE, STALLED_AT_ONCE = 10, 40


def answer(stage, asked, kind):
    """What is cut: with a length, or in chunks; to a change, an acceptance with a body."""
    if asked.method == "POST":
        polled = f"{stage.arm.url}{asked.path.removesuffix('/backup')}/operationsStatus/o1?api-version=2026-08-01"
        headers = [("Azure-AsyncOperation", polled), ("x-ms-request-id", asked.decision)]
        return response({"name": asked.vault, "status": "Accepted"}, "202 Accepted", headers)
    body = encode(stage.arm.document(asked))
    if kind == "chunked":
        return response(chunked(body[:100], body[100:]), headers=[("Transfer-Encoding", "chunked")], length=False)
    return response(body, headers=[("x-ms-request-id", asked.decision), ("ETag", '"1"')])


def boundaries(stage, whole, ending):
    """Where the answer ends: everywhere, or at a part of its bytes."""
    if stage.full:
        return range(len(whole))
    end = whole.index(b"\r\n\r\n")
    edges = {0, 12, whole.index(b"\r\n"), end + 2, end + 4, len(whole) - 1}
    return sorted(edges | set(range(0, len(whole), EVERY_STALL if ending == "stall" else EVERY)))


def one(stage, kind, ending, at):
    """The answer's first `at` bytes, and then the end."""
    def play(line, asked):
        line.send(answer(stage, asked, kind)[:at])
        getattr(line, ending)()

    vault = stage.arm.vault(play)
    change = kind == "change"
    exchange = (stage.change if change else stage.read)(vault)
    stage.sound(exchange)
    stage.refused(exchange)
    arrived = stage.arm.about(vault)
    hold(len({a.decision for a in arrived}) <= 1, "under more than one decision")
    hold(len(arrived) <= (1 if change else 3), f"sent {len(arrived)} times")
    outcome = stage.outcome(exchange)["outcome"]
    hold(outcome == ("unknown" if change else "failed"), f"recorded as {outcome}: {told(exchange)}")
    return bool(arrived)


def swept(stage, kind, ending):
    """Every boundary of one kind of answer, many at once."""
    vault = stage.arm.vault(lambda line, asked: line.send(answer(stage, asked, kind)))
    probe = (stage.change if kind == "change" else stage.read)(vault)
    stage.sound(probe)
    hold(probe.status == (202 if kind == "change" else 200), f"the whole answer did not pass: {told(probe)}")
    whole = answer(stage, stage.arm.about(vault)[0], kind)
    wrong, arrived = [], []

    def tried(at):
        try:
            arrived.append(one(stage, kind, ending, at))
        except Wrong as error:
            wrong.append(f"at byte {at} of {len(whole)}, after {whole[:at][-30:]!r}: {error}")

    places = boundaries(stage, whole, ending)
    with concurrent.futures.ThreadPoolExecutor(STALLED_AT_ONCE if ending == "stall" else AT_ONCE) as pool:
        list(pool.map(tried, places))
    hold(not wrong, f"{len(wrong)} of {len(places)}: {sorted(wrong)[:3]}")
    # A busy machine may be late with some; where most never arrived nothing was tried.
    hold(sum(arrived) >= 0.8 * len(places), f"{sum(arrived)} of {len(places)} arrived")
    stage.serves()
    return f"{len(places)} of {len(whole)} boundaries"


def crumbs(stage, kind):
    """The whole answer in TLS records of one byte is an answer, and is passed whole."""
    def play(line, asked):
        for byte in answer(stage, asked, kind):
            line.send(bytes([byte]))

    vault, exchange = stage.attacked(play, stage.change if kind == "change" else None)
    if kind == "change":
        hold(exchange.status == 202, told(exchange))
    else:
        stage.passed(exchange, vault)


def late(stage, kind):
    """An answer that trickles so slowly that it is late: the bound is one of the whole exchange."""
    def play(line, asked):
        line.send(answer(stage, asked, kind)[:40])
        while line.send(b"a"):
            if line.gone(TIMEOUT / 8):
                return

    _, exchange = stage.attacked(play, stage.change if kind == "change" else None)
    stage.refused(exchange)
    hold(exchange.seconds < 4 * TIMEOUT + 3, f"it took {exchange.seconds:.1f} s")


def cases(stage):
    for kind in ("read", "chunked", "change"):
        for ending in ENDINGS:
            yield f"ends early: {kind}, {ending}", lambda k=kind, e=ending: swept(stage, k, e)
        yield f"byte by byte: {kind}", lambda k=kind: crumbs(stage, k)
        yield f"too slow: {kind}", lambda k=kind: late(stage, k)
