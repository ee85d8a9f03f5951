"""Tokens from clocks that are ahead or behind, and a provider whose `Date` lies.

Time is judged by the gateway's own clock, with the leeway of the configuration, whatever the
provider says of the time while it hands out its keys.
"""

import time

from hostile_idp import COOLDOWN
from renewing import ask
from stage import hold
from world import API, item, until

DEFAULT, STRICT = 30, 0
# What a slow machine may take between a token's making and its judgement.
SLACK = 10
EXPIRED, EARLY = "401 token-expired", "401 token-not-yet-valid"
LIES = {
    "the-future": "Fri, 01 Jan 2100 00:00:00 GMT",
    "the-past": "Thu, 01 Jan 1970 00:00:00 GMT",
    "no-date": "yesterday, some time after lunch",
}
BACKUP = {"properties": {"objectType": "IaasVMBackupRequest"}}


def realms(idp, _):
    idp.realm("skewed")
    idp.realm("strict", f'leeway = "{STRICT}s"')


def claims(leeway):
    """Times of tokens, in seconds from now, and what becomes of them."""
    good = {
        "now": {},
        "issued-ahead": {"iat": leeway - SLACK},
        "not-before-ahead": {"nbf": leeway - SLACK},
        "just-expired": {"iat": -600, "exp": SLACK - leeway},
    }
    wrong = {
        "issued-too-far-ahead": ({"iat": leeway + SLACK}, EARLY),
        "not-before-too-far-ahead": ({"nbf": leeway + SLACK}, EARLY),
        "not-before-hides-issued": ({"iat": leeway + SLACK, "nbf": -60}, EARLY),
        "expired": ({"iat": -600, "exp": -leeway - 1}, EXPIRED),
        "expired-long-ago": ({"iat": -86_400, "exp": -82_800}, EXPIRED),
        "expired-and-ahead": ({"iat": 600, "exp": -600}, EXPIRED),
        "lives-too-long": ({"exp": 3_700}, "401 token-lifetime"),
    }
    kept = {name: (given, "200") for name, given in good.items() if leeway > SLACK or not given}
    return {**kept, **wrong}


def judged(world, realm, leeway, key="k1"):
    for name, (given, expected) in claims(leeway).items():
        now = int(time.time())
        token = realm.token(key, **{claim: now + seconds for claim, seconds in given.items()})
        met = ask(world, token)
        hold(met == expected, f"{name} ({given}): {met}, not {expected}")
    return f"{len(claims(leeway))} tokens"


def ends_in_use(world, realm):
    """A token that was verified and is remembered ends on time."""
    end = int(time.time()) + 3
    token = realm.token("k1", exp=end)
    met = ask(world, token)
    hold(met == "200", f"not good before its end: {met}")
    until("the token's end", lambda: ask(world, token) == EXPIRED, 10)
    # The gateway may count up to a second more, since Azure's dates hold no parts of one.
    hold(end - 2 <= time.time() <= end + 2, f"ended {time.time() - end:+.1f} s from its end")
    return f"{time.time() - end:+.1f} s"


def lied_to(world, realm, lie):
    """The same with keys from answers whose `Date` lies."""
    realm.date = LIES[lie]
    name = f"key-of-{lie}"
    realm.publish(name)
    # Good only by the key that came with the lie.
    until("the lie to be fetched", lambda: ask(world, realm.token(name)) == "200", COOLDOWN + 5)
    told_of = judged(world, realm, DEFAULT, name)
    # Changes need a clock that Azure's agrees with: a provider has no say in that.
    answer = world.send("POST", f"{item('vm1')}/backup?{API}", world.token("operator"), BACKUP)
    hold(answer.status == 202, f"a change: {answer}")
    return told_of


def cases(stage, idp, _, report):
    world, realm, strict = stage.world, idp.realms["skewed"], idp.realms["strict"]
    report.case("skew-within-and-beyond-leeway", lambda: judged(world, realm, DEFAULT))
    report.case("skew-without-leeway", lambda: judged(world, strict, STRICT))
    report.case("skew-token-ends-in-use", lambda: ends_in_use(world, strict))
    for lie in LIES:
        report.case(f"skew-date-of-{lie}", lambda: lied_to(world, realm, lie))
