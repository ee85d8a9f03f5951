"""Addresses in answers: polls, pages and where a caller would take its token next.

Operation addresses become sealed handles, pages lead to the gateway, and whatever is no address
of the pinned Azure is taken out. A body is judged as clients read it, which is looser than the
gateway reads: with a byte order mark, a member twice, or nesting beyond what it parses.
"""

import json
import re

from rogue_arm import encode, response
from rogue_stage import POLLS, hold, told

LONG = 20_000
# A path that two parsers could read as two paths.
ODD = re.compile(r"/\.\.?(?:[/;?]|$)|%2e|%2f|%5c|%00|%0d|%0a|^//|\\\\", re.IGNORECASE)


def hostile_targets(stage):
    """Addresses that may not come through, and what each one is."""
    port, ours = stage.arm.port, f"localhost:{stage.arm.port}"
    return {
        "a foreign host": "https://planted.example/a", "the lure": f"{stage.lure.url}/planted",
        "user information": f"https://{ours}@planted.example/a", "a password": f"https://a:{ours}@planted.example/a",
        "user information of ours": f"https://planted@{ours}/a", "another port": "https://localhost:1/planted",
        "no port": "https://localhost/planted", "the port as a suffix": f"https://{ours}1/planted",
        "a suffix": f"https://{ours}.planted.example/a", "a backslash": f"https://{ours}\\@planted.example/a",
        "backslashes": f"https:\\\\{ours}\\planted", "http": f"http://{ours}/planted", "no scheme": f"//{ours}/planted",
        "relative": "/planted", "a word": "planted", "only a query": "?planted", "ftp": f"ftp://{ours}/planted",
        "javascript": "javascript:planted()", "a trailing dot": f"https://localhost.:{port}/planted",
        "127.0.0.1": f"https://127.0.0.1:{port}/planted", "a fragment": f"https://{ours}/a#planted",
        "a space": f"https://{ours}/a planted", "a tab": f"https://{ours}/a\tplanted", "a space before": f"  http://{ours}/planted",
        "an upper-case scheme": f"HTTPS://{ours}/planted", "a unicode host": "https://lоcalhost.planted/a",
        "unicode in the path": f"https://{ours}/plantéd", "empty host": "https:///planted",
        "an encoded @": "https://planted.example%40localhost/a", "IPv6": f"https://[::1]:{port}/planted",
        "two addresses": f"https://planted.example/a, https://{ours}/a",
    }


def inner_targets():
    """Paths of the pinned host that are no page of a list, or are one of somewhere else."""
    return {
        "..": "/subscriptions/../../planted", "encoded ..": "/subscriptions/%2e%2e/planted?api-version=2026-08-01",
        "an encoded slash": "/subscriptions%2fplanted?api-version=2026-08-01", "double slashes": "//planted.example/a",
        "no ARM path": "/planted?api-version=2026-08-01", "the gateway's own paths": "/_vaultgate/v1/planted",
        "no api-version": "/subscriptions/planted", "an encoded NUL": "/subscriptions/planted%00?api-version=2026-08-01",
        "an encoded CRLF": "/subscriptions/%0d%0aplanted?api-version=2026-08-01", "very long": "/planted" + "a" * LONG,
        "a semicolon": "/subscriptions/a/..;/planted?api-version=2026-08-01",
    }


def cases(stage):
    for name, target in hostile_targets(stage).items():
        for header in POLLS:
            yield f"{header}: {name}", lambda h=header, t=target: poll_taken_out(stage, h, t)
        yield f"nextLink: {name}", lambda t=target: page_taken_out(stage, encode({"value": [], "nextLink": t}))
    for name, target in inner_targets().items():
        address = f"{stage.arm.url}{target}"
        for header in POLLS:
            yield f"{header}: {name}", lambda h=header, t=address: polled(stage, h, t)
        yield f"nextLink: {name}", lambda t=address: page_taken_out(stage, encode({"value": [], "nextLink": t}))
    yield "polls: one header several times", lambda: several(stage)
    yield "polls: of another subscription", lambda: elsewhere(stage)
    yield "nextLink: the next page of another subscription", lambda: other_page(stage)
    evil = "https://planted.example/a"
    bodies = {
        "a byte order mark": b"\xef\xbb\xbf" + encode({"value": [], "nextLink": evil}),
        "the member twice": b'{"nextLink":"https://planted.example/a","value":[],"nextLink":"https://planted.example/b"}',
        "the member twice, once null": b'{"nextLink":null,"value":[],"nextLink":"https://planted.example/b"}',
        "an escaped name": b'{"value":[],"nextLin\\u006b":"https://planted.example/a"}',
        "an escaped value": b'{"value":[],"nextLink":"\\u0068ttps:\\/\\/planted.example/a"}',
        "deep nesting beside it": b'{"value":' + b"[" * 300 + b"]" * 300 + b',"nextLink":"https://planted.example/a"}',
        "NaN beside it": b'{"value":[NaN],"nextLink":"https://planted.example/a"}',
        "a number beyond all": b'{"value":[1e999],"nextLink":"https://planted.example/a"}',
        "a lone surrogate beside it": b'{"value":["\\ud800"],"nextLink":"https://planted.example/a"}',
        "a lone surrogate in it": b'{"value":[],"nextLink":"https://planted.example/\\ud800"}',
        "8-bit text beside it": b'{"value":["\xff"],"nextLink":"https://planted.example/a"}',
        "a control character beside it": b'{"value":["\x01"],"nextLink":"https://planted.example/a"}',
        "UTF-16": '{"value":[],"nextLink":"https://planted.example/a"}'.encode("utf-16"),
        "a list of it": encode({"value": [], "nextLink": [evil]}), "an object": encode({"value": [], "nextLink": {"href": evil}}),
        "@odata.nextLink": encode({"value": [], "@odata.nextLink": evil}), "odata.nextLink": encode({"value": [], "odata.nextLink": evil}),
        "another case": encode({"value": [], "NextLink": evil}),
        "no JSON type": (encode({"value": [], "nextLink": evil}), "text/plain"),
        "a comment": b'/**/{"value":[],"nextLink":"https://planted.example/a"}',
        "text behind it": encode({"value": [], "nextLink": evil}) + b"\n{}",
    }
    for name, body in bodies.items():
        yield f"nextLink: {name}", lambda b=body: page_taken_out(stage, *(b if isinstance(b, tuple) else (b,)))


def poll_taken_out(stage, header, target):
    """`sound` holds what came: nothing planted, and no address but the gateway's."""
    value = [(header, target)]
    vault, exchange = stage.attacked(
        lambda line, asked: line.send(response(b"", "202 Accepted", value)), stage.change)
    hold(exchange.header(header) is None, f"it came through: {told(exchange)}")
    # What could not be read as HTTP is unknown; the others were accepted. Either way once.
    hold(exchange.status in (202, 502), told(exchange))
    hold(len(stage.arm.about(vault)) == 1, "the change arrived more than once")


def polled(stage, header, target):
    """A path of the pinned host is sealed or taken out; its poll is judged like any request."""
    vault, exchange = stage.attacked(
        lambda line, asked: line.send(response(b"", "202 Accepted", [(header, target)])), stage.change)
    hold(exchange.status == 202, told(exchange))
    handle = exchange.header(header)
    if handle is None:
        return "taken out"
    answer = stage.ask("GET", handle.removeprefix(stage.world.url))
    own = answer.header("x-vaultgate-decision-id")
    odd = [a.target for a in stage.arm.asked if a.decision == own and ODD.search(a.target)]
    # What two parsers could read differently never reaches Azure, whoever wrote it.
    hold(not odd, f"the poll was sent to {odd[:1]}")
    return f"{answer.status}"


def several(stage):
    """Neither the first nor a later one of several may be foreign."""
    good = f"{stage.arm.url}/subscriptions/a?api-version=2026-08-01"
    for given in ((good, "https://planted.example/a"), ("https://planted.example/a", good)):
        stage.attacked(lambda line, asked, given=given: line.send(
            response(b"", "202 Accepted", [("Location", one) for one in given])), stage.change)


def elsewhere(stage):
    """A handle to a subscription where the caller has no role: what Azure seals in is no right."""
    away = "99999999-9999-9999-9999-999999999999"
    target = f"{stage.arm.url}/subscriptions/{away}/resourceGroups/planted?api-version=2021-04-01"
    _, exchange = stage.attacked(
        lambda line, asked: line.send(response(b"", "202 Accepted", [("Location", target)])), stage.change)
    handle = exchange.header("location")
    if handle is None:
        return "taken out"
    stage.ask("GET", handle.removeprefix(stage.world.url))
    reached = [a.target for a in stage.arm.asked if a.target.startswith(f"/subscriptions/{away}/resourceGroups/planted")]
    hold(not reached, f"the poll of another subscription reached Azure: {reached[:1]}")
    return "refused"


def page_taken_out(stage, body, content="application/json"):
    """Whatever a client makes of the body leads to no other host."""
    def play(line, asked):
        line.send(response(body, headers=[] if content == "application/json" else [("Content-Type", content)]))

    vault = stage.arm.vault(play)
    exchange = stage.ask("GET", f"{vault}/backupJobs?api-version=2026-08-01")
    hold(len(exchange.replies) == 1, told(exchange))
    reply = exchange.replies[0]
    for read in (lambda b: b.decode("utf-8-sig"), lambda b: b.decode("utf-16"), lambda b: b.decode("latin-1")):
        try:
            document = json.loads(read(reply.body))
        except (ValueError, RecursionError):
            continue
        for name, link in document.items() if isinstance(document, dict) else ():
            if name.lower().endswith("nextlink") and link is not None:
                hold(isinstance(link, str), f"`{name}` is no text: {link!r}")
                stage.ours(link, f"{stage.world.url}/subscriptions/")
    stage.sound(exchange, body=False)
    return f"{reply.status} {len(reply.body)} bytes"


def other_page(stage):
    """A page of another subscription leads to the gateway, which judges it anew."""
    away = "/subscriptions/99999999-9999-9999-9999-999999999999/resourceGroups?api-version=2021-04-01"
    vault = stage.arm.vault(lambda line, asked: line.send(response({"value": [], "nextLink": stage.arm.url + away})))
    exchange = stage.ask("GET", f"{vault}/backupJobs?api-version=2026-08-01")
    link = json.loads(exchange.replies[0].body)["nextLink"]
    if link is None:
        return "taken out"
    stage.ours(link, f"{stage.world.url}/subscriptions/")
    answer = stage.ask("GET", link.removeprefix(stage.world.url))
    hold(answer.status == 403, f"another subscription was answered: {told(answer)}")
    return "refused"


def inventory(arm, lure):
    """The gateway's own list of vaults, with a next page elsewhere: it must not go there."""
    return {"value": [], "nextLink": f"{lure.url}/planted?api-version=2026-08-01"}
