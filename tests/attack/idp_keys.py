"""Keys that change, keys that never were, and a provider too slow to tell which."""

import contextlib
import time

import strangers
from hostile_answers import DISCOVERY, dripped, silent
from hostile_idp import COOLDOWN
from meter import Meter
from renewing import SLOW_MACHINE, Renewing, ask
from rotation import SLACK, Rotation
from stage import ATTEMPTS, FLOOD_GROWTH, Wrong, compared, hold
from world import until

FETCH = 5.0
UNKNOWN, DEGRADED, OFTEN = "401 token-key-unknown", "503 issuer-degraded", "429 verification-limit"
# What arrives at the provider is a little nearer together than it was sent.
JITTER = 0.2
SLOW = {"slow-silent": silent, "slow-dripped": dripped}
CROWD = 48


def realms(idp, _):
    for name in ("stormed", "rotating", "at-once", *SLOW):
        idp.realm(name)


def honest(stage, realm, token=None):
    return Renewing(stage.world, token or (lambda: (realm.token("k1"), 1)))


def beside(stage, clients, attack, judge):
    """An attack between two quiet phases; the honest clients must not feel it."""
    for left in reversed(range(ATTEMPTS)):
        before = stage.calm()
        with Meter(stage.pid) as meter:
            seen = attack()
        judge(seen)
        hold(meter.grown <= FLOOD_GROWTH, f"memory grew by {meter.grown:.1f} MiB: {seen}")
        began, ended = min(one["began"] for one in seen), max(one["ended"] for one in seen)
        after = stage.calm()
        try:
            for client in (stage.steady, *clients):
                compared(*(client.window(*phase) for phase in ((began, ended), before, after)))
        except Wrong:
            if not left:
                raise
        else:
            break
    quiet, during = clients[0].window(*before), clients[0].window(began, ended)
    kept = [{n: v for n, v in one.items() if n not in ("began", "ended")} for one in seen]
    return f"+{meter.grown:.1f} MiB; {quiet} -> {during}; {kept}"


def storm(stage, realms, **more):
    """Strangers at each of these realms, at the same time; what they saw."""
    going = [stage.start(strangers.ATTACK, issuer=realm.url, **more) for realm in realms]
    return [one.end() for one in going]


def sparing(realm, begin, end):
    """At most one fetch began in each cool-down; how many there were."""
    fetches = realm.fetches("jwks", begin, end)
    asked = realm.fetches(DISCOVERY, begin, end)
    most = (end - begin) / COOLDOWN + 2
    hold(len(fetches) <= most and len(asked) <= most,
         f"{len(asked)} and {len(fetches)} fetches in {end - begin:.1f} s")
    near = [b - a for a, b in zip(asked, asked[1:]) if b - a < COOLDOWN - JITTER]
    hold(not near, f"fetches within a cool-down: {near[:5]}")
    return len(asked)


# --- a storm of keys that never were --------------------------------------------------------

def stormed(stage, realm):
    def judge(seen):
        (one,) = seen
        hold(set(one["answers"]) <= {UNKNOWN, OFTEN}, f"strangers met {one['answers']}")
        hold(one["answers"].get(UNKNOWN, 0) >= 200, f"this was no storm: {one}")
        one["fetches"] = sparing(realm, one["began"], one["ended"])
        hold(one["fetches"] >= 1, "nothing was fetched: this storm asked for nothing")
        # A fetch is quick here: whoever waits for one does not wait for others.
        hold(one["longest"] <= FETCH, f"a stranger waited {one['longest']:.1f} s")

    with honest(stage, realm) as client:
        return beside(stage, [client], lambda: storm(stage, [realm], connections=64), judge)


# --- a slow provider ------------------------------------------------------------------------

def slow(stage, realms):
    """Strangers wait for what never comes, and nobody else does."""
    def judge(seen):
        for one in seen:
            hold(set(one["answers"]) <= {UNKNOWN, DEGRADED}, f"strangers met {one['answers']}")
            hold(one["answers"].get(DEGRADED, 0) >= CROWD / 2, f"nobody waited: {one}")
            hold(one["longest"] <= FETCH + 2 * SLACK, f"a stranger waited {one['longest']:.1f} s")
            hold(one["longest"] >= FETCH / 2, f"the provider was not slow: {one}")

    def attack():
        for realm in realms:
            realm.trouble = lambda exchange, own, document: SLOW[own.name](exchange, own, document) or True
        return storm(stage, realms, connections=CROWD, seconds=COOLDOWN + 0.5)

    with contextlib.ExitStack() as entered:
        clients = [entered.enter_context(honest(stage, realm)) for realm in realms]
        try:
            return beside(stage, clients, attack, judge)
        finally:
            for realm in realms:
                realm.trouble = None


# --- rotation -------------------------------------------------------------------------------

class Rotations:
    """Both kinds of rotation at the same time, under storms that use up the fetches."""

    def __init__(self, stage, idp, times, pace):
        self.stage, self.times = stage, times
        self.ahead = Rotation.published_ahead(idp.realms["rotating"], times, pace)
        # Its refusals must end before its key does.
        slower = COOLDOWN + SLACK + 0.7
        self.at_once = Rotation.at_once(idp.realms["at-once"], max(2, int(times * pace / slower)), slower)
        self.lasted = max(one.times * one.pace for one in (self.ahead, self.at_once)) + COOLDOWN + SLACK

    def run(self):
        """Two honest clients of one provider, two of the other: new tokens, and old ones."""
        both = (self.ahead, self.at_once)
        tokens = [self.ahead.newest_and_earlier(), self.at_once.token, lambda: self.at_once.token(1)]
        with contextlib.ExitStack() as entered:
            # The first keys must be there: this is about change, not about the beginning.
            for one in both:
                until("the first key", lambda: ask(self.stage.world, one.token()[0]) == "200")
            clients = [entered.enter_context(honest(self.stage, None, token)) for token in tokens]
            began = time.monotonic()
            for one in both:
                one.thread.start()
            self.seen = storm(self.stage, [one.realm for one in both], connections=4,
                              seconds=self.lasted, pause=0.05)
            self.window = self.stage.steady.window(began, time.monotonic())
        self.rows, self.sudden, self.old = (
            [row for row in client.rows if row[2] != SLOW_MACHINE] for client in clients)

    def new_and_earlier(self):
        """Not one token of a key that was published ahead was refused."""
        refused = [row for row in self.rows if row[2] != "200"]
        hold(not refused, f"{len(refused)} of {len(self.rows)}: {refused[:5]}")
        used = {row[3] for row in self.rows}
        hold(len(self.ahead.began) == self.times + 1, f"{len(self.ahead.began) - 1} rotations")
        hold(len(used) >= self.times * 0.9, f"tokens of {len(used)} keys only")
        (one, _) = self.seen
        fetches = sparing(self.ahead.realm, one["began"], one["ended"])
        return f"{self.times} rotations, {len(self.rows)} tokens of {len(used)} keys, {fetches} fetches"

    def withdrawn(self):
        """Tokens of withdrawn keys are refused."""
        names = self.ahead.withdrawn()
        hold(len(names) >= self.times / 2, f"{len(names)} keys were withdrawn")

        def met_by(name):
            return ask(self.stage.world, self.ahead.realm.token(name))

        until("the last withdrawn key to be forgotten", lambda: met_by(names[-1]) != "200", COOLDOWN + SLACK)
        met = {met_by(name) for name in names}
        hold(met == {UNKNOWN}, f"met {met}")
        return f"{len(names)} keys"

    def sudden_ones(self):
        """A key that signs at once is refused for a cool-down at most, its predecessor after it."""
        late, revived = self.at_once.late(self.sudden), self.at_once.revived(self.old)
        hold(not late, f"refused after the cool-down: {late[:5]}")
        hold(not revived, f"withdrawn keys taken: {revived[:5]}")
        refused = [row for row in self.sudden if row[2] != "200"]
        hold({row[2] for row in refused} <= {UNKNOWN}, f"refused as {refused[:5]}")
        served = {row[3] for row in self.sudden if row[2] == "200"}
        hold(len(served) == self.at_once.times + 1, f"keys that served: {served}")
        hold(any(row[2] != "200" for row in self.old), "the withdrawn keys were not tried")
        longest = max((row[0] - self.at_once.began[row[3]] for row in refused), default=0)
        return f"{self.at_once.times} rotations, {len(refused)} refused, {longest:.2f} s at most"

    def others(self):
        errors = [error for error in self.window.errors if "PolicyTimeout" not in error]
        hold(not errors, f"the other issuer's caller met {errors[:5]}")
        return str(self.window)


def cases(stage, idp, chosen, report):
    report.case("storm-of-unknown-keys", lambda: stormed(stage, idp.realms["stormed"]))
    report.case("slow-provider", lambda: slow(stage, [idp.realms[name] for name in SLOW]))
    if report.wants("rotation"):
        rotations = Rotations(stage, idp, chosen.rotations, chosen.pace)
        report.case("rotation", rotations.run)
        report.case("rotation-published-ahead", rotations.new_and_earlier)
        report.case("rotation-at-once", rotations.sudden_ones)
        report.case("rotation-withdrawn-keys", rotations.withdrawn)
        report.case("rotation-others-served", rotations.others)
