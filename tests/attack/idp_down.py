"""The identity provider is down: before the gateway starts, and while it serves.

The last good keys are used up to their ceiling, which a configuration cannot put below a
minute. Where libfaketime is, the gateway's clocks are wound forward; else the minute passes.
"""

import contextlib
import glob
import pathlib
import tempfile
import time

from floods import RATES
from hostile_idp import COOLDOWN, Idp
from renewing import ask
from stage import hold
from world import World, free_port, until

CEILING = 60
# Refused connections are noticed at once: only a busy machine takes time.
SLACK = 3.0
DEGRADED = "503 issuer-degraded"
LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"


class Passing:
    """Time that passes for the gateway: wound, or waited for."""

    def __init__(self, folder, wound):
        found = sorted(glob.glob(LIBRARY)) if wound else []
        self.file, self.ahead, self.environment = folder / "clock", 0, {}
        self.began = time.monotonic()
        if found:
            self.turn()
            self.environment = {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(self.file),
                                "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1"}

    def turn(self):
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.ahead:+d}\n")
        new.rename(self.file)

    def on(self, seconds):
        """All clocks of the gateway go on by this, the monotonic one as well."""
        if self.environment:
            self.ahead += seconds
            self.turn()
        else:
            end = time.monotonic() + seconds
            until(f"{seconds} s to pass", lambda: time.monotonic() > end, seconds + SLACK)


class Outage:
    """One life of one gateway, whose provider comes and goes."""

    def __init__(self, world, idp, passing):
        self.world, self.idp, self.passing = world, idp, passing
        self.realm = idp.realms["late"]
        self.known = self.realm.token("k1")

    def ask(self, token):
        began = time.monotonic()
        met = ask(self.world, token)
        took = time.monotonic() - began
        hold(took <= SLACK, f"waited {took:.1f} s for {met}")
        return met

    def meets(self, expected, token, what):
        met = self.ask(token)
        hold(met == expected, f"{what}: {met}, not {expected}")

    def back(self):
        """From its return on, how long until its callers are served."""
        self.idp.up()
        began = time.monotonic()
        until("its callers to be served", lambda: self.ask(self.realm.token("k1")) == "200", COOLDOWN + SLACK)
        return f"served {time.monotonic() - began:.1f} s after its return"

    def at_start(self):
        """The gateway is there, says why it refuses, and serves others."""
        hold(self.world.admin("/readyz").status == 200, "not ready")
        for _ in range(3):
            self.meets(DEGRADED, self.known, "a caller without keys")
        self.meets("200", self.world.token("operator"), "another issuer's caller")
        return self.back()

    def while_serving(self):
        """What is known goes on, verified before or not; what is not is refused as not known yet."""
        self.meets("200", self.known, "before")
        self.idp.down()
        self.known_goes_on("at once")
        # Until the cool-down of the last fetch is over, that one's answer stands.
        until("an unknown key to be told so", lambda: self.ask(self.realm.token("k2")) == DEGRADED,
              COOLDOWN + SLACK)
        # Stale keys are fetched anew in the background: in vain, and nobody waits for it.
        self.passing.on(CEILING * 3 // 4)
        self.known_goes_on("below the ceiling")

    def known_goes_on(self, when):
        for token in (self.known, self.realm.token("k1")):
            self.meets("200", token, f"a known key, {when}")

    def beyond_ceiling(self):
        self.passing.on(CEILING // 4 + 2)
        for token, what in ((self.known, "verified before"), (self.realm.token("k1"), "not verified before")):
            self.meets(DEGRADED, token, what)
        self.meets("200", self.world.token("operator"), "another issuer's caller")
        return self.back()


@contextlib.contextmanager
def outage(wound):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vaultgate-"))
    world = World({}, folder)
    with contextlib.closing(Idp(free_port(), up=False, canary=False)) as idp:
        idp.realm("late", f'jwks_ceiling = "{CEILING}s"')
        passing = Passing(folder, wound)
        try:
            world.start_emulator(4.0)
            world.write_config(None, RATES + idp.tables(), [], folder)
            world.environment = passing.environment
            world.start_gateway()
            yield Outage(world, idp, passing)
        finally:
            world.stop()


def cases(chosen, report):
    if not report.wants("down"):
        return
    with outage(wound=not chosen.full) as one:
        report.case("down-at-start", one.at_start)
        report.case("down-while-serving", one.while_serving)
        report.case("down-beyond-the-ceiling", one.beyond_ceiling)
