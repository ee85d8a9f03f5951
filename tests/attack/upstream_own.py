"""What the gateway reads of Azure for itself, beside callers: the list of the estate.

Its lists name vaults and next pages, and the gateway goes where they say, with its reader's
token. However they are written, it asks the pinned authority alone, and what it cannot read
whole is not counted. One identity's token is also nobody's business in the other's answer.
"""

import concurrent.futures
import contextlib
import json
import pathlib

import hostile_bytes as raw
from hostile_arm import CLOSE, HostileArm
from stage import hold
from world import API, PROD, VAULT, until

VAULTS = f"/subscriptions/{PROD}/providers/Microsoft.RecoveryServices/vaults"
# Often enough that every lie is read within a moment.
QUICK = ("[facts]\n", '[facts]\nestate_every = "200ms"\n')
READER = "reader"


def page(*identifiers, **more):
    return raw.answer(raw.json_body(value=[{"id": one} for one in identifiers], **more))


def lies(arm, elsewhere):
    """Lists of vaults, by name."""
    away = f"localhost:{elsewhere.port}"
    vault = VAULT.replace("/v1", "/h-estate-@@")
    linked = [f"https://{away}{vault}?{API}", f"//{away}{vault}", f"http://{away}{vault}", "file:///etc/passwd",
              f"https://localhost:{arm.port}@{away}{vault}?{API}", f"https://user@{away}{vault}", "../x", ""]
    found = {
        "a vault behind a user's name": page(f"@{away}{vault}"),
        "a vault behind a port": page(f":x@{away}{vault}"),
        "a vault that is a host": page(f".evil.example{vault}"),
        "a vault that is a URL": page(f"https://{away}{vault}"),
        "a vault of another scheme": page(f"//{away}{vault}"),
        "a vault with a line in it": page(f"{vault}\r\nHost: {away}\r\n"),
        "a vault with a query": page(f"{vault}?x=1#"),
        "a vault that is a number": raw.answer(b'{"value":[{"id":7}]}'),
        "a vault without a name": raw.answer(b'{"value":[{}]}'),
        **{f"the next page at {link}": page(nextLink=link) for link in linked},
        "no list": raw.answer(b'{"value":{}}'),
        "half a list": page(vault)[:-4] + b"    ",
        "a redirect": raw.answer(b"", "302 Go", f"Location: https://{away}{vault}"),
    }
    # Each has a name of its own: who asks for it believed that lie.
    return {f"h-estate-{n:02}": (name, answer.replace(b"h-estate-@@", b"h-estate-%02d" % n))
            for n, (name, answer) in enumerate(found.items())}


def told(play):
    """Lies told as the list of vaults, one after the other."""
    own = pathlib.Path(play.world.env["SIM_CA"]).parent
    # Its certificate is as good as any that an attacker has for a host of his own.
    with contextlib.closing(HostileArm(own / "localhost.pem", own / "localhost.key", play.arm.url)) as away:
        found = lies(play.arm, away)
        for name, answer in found.values():
            before = len(play.arm.requests(VAULTS, READER))
            play.arm.trap(VAULTS, answer, identity=READER)
            until(f"`{name}` to be read", lambda: len(play.arm.requests(VAULTS, READER)) >= before + 2)
        gave = sorted({found[r.vault][0] if r.vault in found else r.target for r in away.asked})
        hold(not gave, f"given {len(away.tokens)} of the gateway's own tokens elsewhere by: {gave}")
    play.arm.traps.pop((VAULTS, READER), None)
    foreign = [r.headers.get("host") for r in list(play.arm.asked) if r.headers.get("host") != f"localhost:{play.arm.port}"]
    hold(not foreign, f"asked as {foreign[:3]}")
    return f"{len(found)} lists"


def uncounted(play):
    """Half a list is no estate: the count stays as it was last known, and grows old."""
    play.arm.trap(VAULTS, page(nextLink=f"{play.arm.url}{VAULTS}?{API}"), CLOSE, identity=READER)
    before = len(play.arm.requests(VAULTS, READER))
    until("pages to be read", lambda: len(play.arm.requests(VAULTS, READER)) >= before + 5)
    play.arm.trap("h-estate-judged", raw.answer(b"", "202 Accepted"))
    _, headers, body = play.change("h-estate-judged")
    fact = play.world.record(headers["x-vaultgate-decision-id"])["input"]["facts"]["estate"]
    hold(fact["status"] == "unavailable" or fact.get("age_s", 0) >= 1 or fact["vaults"] >= 1,
         f"an empty list in a circle was counted: {fact} {body!r}")


def mended(play):
    """An honest list is counted again."""
    play.arm.traps.pop((VAULTS, READER), None)
    before = len(play.arm.requests(VAULTS, READER))
    until("the honest list", lambda: len(play.arm.requests(VAULTS, READER)) >= before + 2)


def crossed(play):
    """The token of one identity, kept and put into the other's answer, reaches nobody: the
    operator's by way of a caller, the reader's by way of facts and the record."""
    by = {identity: next(t for t in play.arm.tokens if f".{identity}." in t) for identity in ("reader", "operator")}
    for number, form in enumerate((
            lambda token: raw.answer(raw.json_body(value=[], note=token)),
            lambda token: raw.answer(b"{}", "200 OK", f"x-ms-request-id: {token}"),
            lambda token: raw.answer(raw.json_body(error={"code": token, "message": token}), "400 Bad"))):
        for method in (play.read, play.change):
            vault = f"h-crossed-{number}"
            play.arm.trap(vault, form(by["reader"]))
            tagged = {"id": VAULT, "location": "westeurope", "properties": {}, "tags": {"t": by["operator"]}}
            play.arm.trap(vault, raw.answer(json.dumps(tagged).encode()), identity=READER)
            _, headers, body = method(vault)
            hold("azcanary" not in f"{headers}{body!r}", f"the other identity's token was passed on: {body[:200]!r}")
            record = play.world.record(headers["x-vaultgate-decision-id"])
            hold("azcanary" not in json.dumps(record), "the other identity's token stands in the record")


def depended_on(play):
    """A change that depends on the vault's state is refused for want of it, and not sent, when
    Azure tells that state in no way that can be read; told well, that is no reason."""
    _, _, listed = play.ask("GET", f"{VAULT}/backupPolicies?{API}")
    weekly = json.dumps({"properties": json.loads(listed)["value"][0]["properties"]})

    def one(job):
        number, (name, steps) = job
        vault = f"h-depends-{number}"
        if steps:
            play.arm.trap(vault, *steps, identity=READER)
        play.arm.trap(vault, raw.answer(b"{}"))
        policy = f"{VAULT.replace('/v1', f'/{vault}')}/backupPolicies/mine?{API}"
        status, _, body = play.ask("PUT", policy, body=weekly)
        hold(status == 403 and not play.arm.requests(vault, method="PUT"), f"{name}: {status} {body!r}")
        # The caller's role is refused beside: no role that is shipped may configure.
        return name, "data.vaultgate.deny_change" in json.loads(body)["error"]["additionalInfo"][0]["info"]["rules"]

    hold(not one((0, ("told well", None)))[1], "facts that were told well are refused")
    with concurrent.futures.ThreadPoolExecutor(4) as workers:
        done = list(workers.map(one, enumerate(raw.FACTS.items(), 1)))
    believed = [name for name, wanting in done if not wanting]
    hold(not believed, f"taken for the vault's state: {believed}")
    return f"{len(done)} answers"


CASES = (depended_on, uncounted, mended, crossed)
