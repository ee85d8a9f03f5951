"""`arm_paths.json`: targets that two readers could take for different resources.

Each goes over HTTP/1.1 and, where it can be written there, over HTTP/2; both must agree.
"""

import re
import urllib.parse

from judge import BACKUP, Operations, hold

OPERATIONS = Operations()
# Over HTTP/2 these have no `:path` of their own.
HTTP1_ONLY = {"authority-form"}


def classified(outcome, expected):
    """Allowed, sent once, and the same operation to a router of our own."""
    operation = re.match(r"classified:(\w+)", expected)[1]
    entry, record = outcome.once()
    found, exact = OPERATIONS.find(entry["method"], entry["path"])
    hold(found == operation, f"upstream it is {found}, not {operation}: {entry['path']}")
    hold(exact, f"not in canonical spelling: {entry['path']}")
    name = record["input"]["operation"]["name"]
    hold(name == OPERATIONS.action(operation), f"the record says {name}")
    if "name='a+b'" in expected:
        last = urllib.parse.unquote(entry["path"].rsplit("/", 1)[1])
        hold(last == "a+b", f"the name became {last}")
    if "rg=providers" in expected:
        group = record["input"]["resource"]["resource_group"]
        hold(group == "providers", f"the group became {group}")


def either(outcome, expected, *statuses):
    if outcome.reached:
        classified(outcome, expected)
    else:
        outcome.refused(*statuses, recorded=True)


def stripped(outcome):
    entry, _ = outcome.once()
    names = {name.lower() for name, _ in entry["headers"]}
    wrong = names & {name.lower() for name, _ in HOSTILE}
    hold(not wrong, f"forwarded: {wrong}")


def cut(outcome):
    """The HTTP library cuts fragments off before anything sees them: what is judged,
    recorded and sent is then the target without one, the same on all sides."""
    if not outcome.reached:
        return outcome.refused(400, 403, recorded=True)
    entry, record = outcome.once()
    hold("#" not in entry["path"] + entry["query"], f"a fragment went upstream: {entry['path']}")
    hold(record["forward"]["path"] == entry["path"], "another path is recorded")


def judge(outcome, expected):
    if expected.startswith("classified:"):
        if expected.endswith("or-refused-400"):
            either(outcome, expected, 400)
        elif expected.endswith("|405"):
            either(outcome, expected, 405)
        else:
            classified(outcome, expected)
        if "value-passed-encoded" in expected:
            query = outcome.reached[0]["query"].lower()
            hold("%0d%0a" in query, f"the value became {query}")
    elif expected == "x-ms-* not on allow-list stripped":
        stripped(outcome)
    else:
        outcome.refused(*REFUSED[expected], recorded=True)


REFUSED = {
    "refused-400": (400,),
    "refused-400|421": (400, 421),
    "refused-400|405": (400, 405),
    "refused-400|unknown-parameter": (400,),
    "refused-403 unless allow-listed": (403,),
    "403": (403,),
    # Microsoft.Authorization and microsoft.insights are no providers of backup.
    "classified-by-LAST-provider:Microsoft.Authorization/locks|403": (403,),
    "classified-by-LAST-provider|403": (403,),
}
HOSTILE = [
    ("x-ms-client-principal", "eyJhIjoxfQ"),
    ("x-ms-home-tenant-id", "11111111-1111-1111-1111-111111111111"),
    ("x-ms-force-sync", "true"),
    ("X-Original-URL", "/subscriptions"),
    ("X-HTTP-Method-Override", "DELETE"),
]


def body_of(method, target):
    if method not in ("POST", "PUT", "PATCH"):
        return b""
    return BACKUP if re.search(r"/backup\?", target, re.IGNORECASE) else b"{}"


def run(stage, cases, token, report):
    for case in cases:
        def check(over, case=case):
            method = case["method"]
            target = case["target"].replace("gateway.local", stage.wire.authority)
            headers = [("Authorization", f"Bearer {token}")]
            body = body_of(method, target)
            if body:
                headers.append(("Content-Type", "application/json"))
            if case["id"] == "hdr-x-ms-path":
                headers += HOSTILE
            send = stage.wire.request if over == "1.1" else stage.wire.request2
            outcome = stage.play(lambda: send(method, target, headers, body))
            if "#" in target:
                return cut(outcome)
            judge(outcome, case["expected"])

        report.case("paths", f"{case['id']} (1.1)", lambda: check("1.1"))
        if case["id"] not in HTTP1_ONLY:
            report.case("paths", f"{case['id']} (2)", lambda: check("2"))
