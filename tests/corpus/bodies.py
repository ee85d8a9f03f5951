"""`json_bodies.json`: bodies whose meaning depends on who reads them.

The corpus shortens ids; they are written out here, since an id that is none would be
refused for that alone.
"""

import base64
import gzip

from judge import GROUP, ITEM, VAULT, VERSION, hold

MACHINE = f"{GROUP}/Microsoft.Compute/virtualMachines/vm1"
SHORT = [
    (b"/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/vm1",
     MACHINE.encode()),
    (b"/subscriptions/s/.../backupPolicies/p1", f"{VAULT}/backupPolicies/DefaultPolicy".encode()),
    (b"/subscriptions/OTHER/", b"/subscriptions/99999999-9999-9999-9999-999999999999/"),
]
TARGETS = {
    "PUT protectedItems": f"{ITEM}?{VERSION}",
    "DELETE protectedItems": f"{ITEM}?{VERSION}",
    "PUT backupPolicies": f"{VAULT}/backupPolicies/DefaultPolicy?{VERSION}",
    "PATCH backupconfig/vaultconfig": f"{VAULT}/backupconfig/vaultconfig?{VERSION}",
    "PATCH vaults": f"{VAULT}?{VERSION}",
    "POST backup": f"{ITEM}/backup?{VERSION}",
}
MEBIBYTE = 1 << 20


def content(case):
    body = base64.b64decode(case["body_b64"]) if "body_b64" in case else gzip.decompress(
        base64.b64decode(case["body_gz_b64"]))
    for short, long in SHORT:
        body = body.replace(short, long)
    return body


def classed(outcome, *classes):
    """Allowed, sent once, and recorded as one of these classes."""
    _, record = outcome.once()
    found = record["input"]["operation"]["class"]
    hold(found in classes, f"the record says {found}, not {classes}")
    return record


def either(outcome, classes, *statuses):
    if outcome.reached:
        classed(outcome, *classes)
    else:
        outcome.refused(*statuses, recorded=True)


def visible(outcome):
    """What a restore crosses is there for policy to see."""
    record = classed(outcome, "restore")
    restore = record["input"]["request"]["restore"]
    hold("subscription" in restore["crosses"], f"policy sees {restore}")


def exact(outcome):
    """An exact number stays exact, or is refused."""
    if not outcome.reached:
        return outcome.refused(400, recorded=True)
    _, record = outcome.once()
    hold(str(record["input"]["request"]["body"]["properties"]["x"]) == "9007199254740993",
         "the number changed")


def unknown(outcome):
    """A member that nobody knows is seen as one, or refused."""
    if not outcome.reached:
        return outcome.refused(400, recorded=True)
    _, record = outcome.once()
    hold(record["input"]["operation"]["body_unknown"], "policy does not see the unknown member")


def bomb(outcome):
    outcome.refused(413, 415)
    hold(outcome.exchange.seconds < 5, f"took {outcome.exchange.seconds:.1f} s")


UNLOCKED = (b'{"properties":{"securitySettings":{"immutabilitySettings":'
            b'{"state":"Unlocked"}}}}')
CHANGES = ("weaken", "delete", "configure", "protect", "guard")
EXPECT = {
    "classified:configure-protection": lambda o: classed(o, "protect", "configure", "weaken"),
    "classified:stop-protection-retain-data": lambda o: classed(o, "weaken"),
    "classified:stop-protection-retain-data|400,no-upstream": lambda o: either(o, ("weaken",), 400),
    "classified:stop-protection-retain-data|415": lambda o: either(o, ("weaken",), 415),
    "classified:soft-delete-off": lambda o: either(o, ("weaken",), 400),
    "classified:immutability-change|400,no-upstream": lambda o: either(o, ("weaken", "configure"), 400),
    "classified:immutability-off": lambda o: classed(o, "weaken"),
    "classified:stop-protection-or-invalid (high risk)": lambda o: either(o, ("weaken",), 400),
    "classified:trigger-backup with past expiry = high risk":
        lambda o: either(o, ("snapshot", "weaken"), 400),
    "classified:restore-overwrite; cross-subscription ids visible to policy": visible,
    "400,no-upstream": lambda o: o.refused(400, recorded=True),
    "400,no-upstream|413": lambda o: o.refused(400, 413),
    "400,no-upstream|413, bounded CPU": lambda o: o.refused(400, 413),
    "400,no-upstream|413, linear time": lambda o: o.refused(400, 413),
    "400,no-upstream,no-crash": lambda o: o.refused(400),
    "400,no-upstream|unknown-field": unknown,
    "400,no-upstream|id ignored and visible": unknown,
    "403|400,no-upstream": lambda o: o.refused(400, 403, recorded=True),
    "value compared exactly or 400,no-upstream": exact,
    "classified|400,no-upstream": lambda o: either(o, CHANGES, 400),
    "415": lambda o: o.refused(415, recorded=True),
    "415|400": lambda o: o.refused(415, 400, recorded=True),
    "415|classified": lambda o: either(o, ("weaken",), 415),
    "415|classified after bounded inflate and re-sent identity": lambda o: either(o, ("weaken",), 415),
    "413|415, RSS +<16 MiB, <200 ms": bomb,
    "400|body dropped on both sides": lambda o: dropped(o),
}


def dropped(outcome):
    if not outcome.reached:
        return outcome.refused(400, recorded=True)
    entry, _ = outcome.once()
    hold(entry["body_sha256"].startswith("e3b0c442"), "a body went upstream with the DELETE")


def run(stage, cases, token, report):
    targets = dict(TARGETS)
    points = stage.world.send("GET", f"{ITEM}/recoveryPoints?{VERSION}", token).json()["value"]
    targets["POST restore"] = f"{ITEM}/recoveryPoints/{points[0]['name']}/restore?{VERSION}"
    for case in cases:
        def check(case=case):
            method = case["operation"].split(" ")[0]
            headers = [("Authorization", f"Bearer {token}"), *case["headers"].items()]
            body, before = content(case), stage.memory()
            target = targets[case["operation"]]
            send = lambda body=body: stage.wire.request(method, target, headers, body)
            # Switching off is only seen where something was on.
            prepare = (lambda: send(UNLOCKED)) if case["id"] == "immut-off" else None
            outcome = stage.play(send, prepare)
            EXPECT[case["expected"]](outcome)
            hold(outcome.exchange.seconds < 10, f"took {outcome.exchange.seconds:.1f} s")
            grown = stage.memory() - before
            hold(grown < 64 * MEBIBYTE, f"grew by {grown // MEBIBYTE} MiB")

        report.case("bodies", case["id"], check)
