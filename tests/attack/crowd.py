"""Attacks by many connections at once: idle thousands, surplus over the caps, slow crowds."""

import contextlib
import time

import meter
from pump import context, dial
from stage import Stage, compared, hold
from world import World, until

# What 10,000 idle connections may cost, MiB, and what any crowd may cost besides.
TEN_THOUSAND, BESIDES = 300, 16
PROCESSES = 2
SOURCES = [f"127.0.0.{n}" for n in range(2, 12)]
# `[limits.connections]` of a configuration that says nothing.
PER_ADDRESS, TOTAL = 512, 4_096
PATIENT = ("[listener]\n", '[listener]\nheader_timeout = "10m"\n')


def told(attack, judge):
    """Waits for an attacker and judges what it saw."""
    seen = attack.end()
    judge(seen)
    return {name: value for name, value in seen.items() if name not in ("began", "ended")}


class Together:
    """Several attackers at the same time."""

    def __init__(self, stage, names, **more):
        self.stage = stage
        self.quiet = stage.before or stage.calm()
        self.meter = meter.Meter(stage.pid).__enter__()
        self.began = time.monotonic()
        self.attacks = {name: stage.start(name, **more) for name in names}

    def judged(self, growth):
        """After all have ended: what they did to memory and to the honest client."""
        self.meter.__exit__()
        ended = time.monotonic()
        until("the honest client's answer", self.stage.steady.settled())
        during = self.stage.steady.window(self.began, ended)
        quiet = [self.stage.steady.window(*self.quiet)]
        hold(self.meter.grown <= growth, f"memory grew by {self.meter.grown:.1f} MiB")
        self.stage.before = self.stage.calm()
        compared(during, *quiet, self.stage.steady.window(*self.stage.before))
        return f"+{self.meter.grown:.1f} MiB; {quiet[0]} -> {during}"


def refusals(world, reason):
    """How many connections the gateway says it refused for this reason."""
    wanted = f'vaultgate_connections_refused_total{{reason="{reason}"}} '
    for line in world.metrics().decode().splitlines():
        if line.startswith(wanted):
            return int(line[len(wanted):])
    return 0


def capped(stage):
    """One address asks for more than its share: the surplus is closed, others come in."""
    surplus = 150
    before = refusals(stage.world, "connection-cap")
    sources = [SOURCES[-1]]
    attack = stage.start("idle", connections=PER_ADDRESS + surplus, sources=sources, kinds="h2")
    attack.line()
    try:
        hold(stage.world.send("GET", "/", None).status == 401, "another address is shut out")
        # The attacker's own next connection is not even greeted.
        with dial(stage.world.url, sources[0]) as over, contextlib.suppress(OSError):
            context(stage.world.ca).wrap_socket(over, server_hostname="localhost")
            raise AssertionError("a connection over the cap was taken")
    finally:
        seen = attack.end()
    hold(seen["left"] == PER_ADDRESS, f"wanted {PER_ADDRESS} connections: {seen}")
    hold(seen["refused"] == surplus, f"wanted {surplus} refused: {seen}")
    counted = refusals(stage.world, "connection-cap") - before
    hold(counted == surplus + 1, f"{counted} refusals are counted")
    return f"{seen['left']} open, {seen['refused']} closed"


def opened(stage, attacks):
    """Waits until every attacker has opened all of its connections."""
    return max(attack.line()["open"] for attack in attacks)


def idle(count, rates, report):
    """Thousands of idle connections that the configuration allows."""
    limits = f"\n[limits.connections]\nper_address = {count}\ntotal = {count + 1_000}\n"
    name = f"{count}-idle-connections"
    if report.wants(name):
        with World.start(extra=rates + limits, replace=[PATIENT]) as world:
            with Stage.on(world, 0, 2.0) as stage:
                report.case(name, lambda: hold_idle(stage, count))
    if report.wants("connections-over-the-cap"):
        with World.start(extra=rates, replace=[PATIENT]) as world:
            with Stage.on(world, 0, 1.0) as stage:
                report.case("connections-over-the-cap", lambda: capped(stage))
    if count > TOTAL and report.wants("connections-in-all"):
        with World.start(extra=rates, replace=[PATIENT]) as world:
            with Stage.on(world, 0, 1.0) as stage:
                report.case("connections-in-all", lambda: all_taken(stage))


def hold_idle(stage, count):
    before = meter.proportional(stage.pid)
    quiet = stage.steady.window(*stage.calm())
    began = time.monotonic()
    each = count // PROCESSES
    attacks = [stage.start("idle", connections=each, sources=SOURCES[n::PROCESSES], kinds=None)
               for n in range(PROCESSES)]
    done = opened(stage, attacks)
    opening = stage.steady.window(began, done)
    held = stage.steady.window(*stage.calm())
    grown = (meter.proportional(stage.pid) - before) / meter.MEBIBYTE
    seen = [attack.end() for attack in attacks]
    left = sum(one["left"] for one in seen)
    hold(left == each * PROCESSES, f"not all were open: {seen}")
    allowed = TEN_THOUSAND * count / 10_000 + (BESIDES if count < 10_000 else 0)
    hold(grown <= allowed, f"{count} connections cost {grown:.0f} MiB, more than {allowed:.0f}")
    compared(held, quiet)
    hold(not opening.errors, f"while they were opened the honest client met {opening.errors[:5]}")
    return (f"{left} open after {done - began:.1f} s, +{grown:.1f} MiB "
            f"({grown * 1024 / left:.1f} KiB each); {quiet} -> opening {opening}, held {held}")


def all_taken(stage):
    """Many addresses take every place: whoever is in stays served."""
    attack = stage.start("idle", connections=TOTAL + 400, sources=SOURCES, kinds="h2")
    attack.line()
    during = stage.steady.window(*stage.calm())
    seen = attack.end()
    # The honest client holds one.
    hold(seen["left"] == TOTAL - 1, f"wanted {TOTAL - 1}: {seen}")
    hold(not during.errors, f"the honest client met {during.errors[:5]}")
    return f"{seen['left']} open, {seen['refused']} closed; {during}"
