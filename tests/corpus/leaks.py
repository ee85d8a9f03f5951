"""Searches everything that the gateway gave away for its Azure credentials.

The emulator mints `azcanary.<identity>.<32 hex>` as Azure tokens, and a change carries a
second canary in a member that is a secret: that word may stand in no answer, no record, no
metric and no line on the console.
"""

import json
import ssl
import urllib.request

from judge import VAULT, VERSION, hold

CANARY = b"azcanary"


def find(haystacks):
    """Names of the places where the canary is."""
    return sorted(name for name, data in haystacks.items() if CANARY in data)


def everything(stage):
    """All that left the gateway: answers, log, metrics, console."""
    world = stage.world
    found = {"answers": bytes(stage.wire.received), "metrics": world.metrics()}
    found["console"] = world.console_text().encode()
    for path in world.log.rglob("*"):
        if path.is_file():
            found[f"log/{path.relative_to(world.log)}"] = path.read_bytes()
    return found


def hide(stage, token):
    """Sends a change whose body holds a secret; Azure gets it, and nothing else may."""
    secret = {"properties": {"integrityKey": "azcanary-in-a-body", "algorithm": "None"}}
    target = f"{VAULT}/extendedInformation/vaultExtendedInfo?{VERSION}"
    headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]
    body = json.dumps(secret, separators=(",", ":")).encode()
    outcome = stage.play(lambda: stage.wire.request("PUT", target, headers, body))
    _, record = outcome.once()
    masked = record["input"]["request"]["body"]["properties"]["integrityKey"]
    hold(masked.startswith("hmac-sha256:"), f"the record holds {masked!r}")


def none(stage):
    haystacks = everything(stage)
    hold(len(haystacks["answers"]) > 10_000, "no answers were kept: the search proves nothing")
    hold(any(name.startswith("log/segments/") for name in haystacks), "no segments were read")
    places = find(haystacks)
    hold(not places, f"an Azure token stands in {places}")


def planted(stage, token):
    """The same search finds a leak that is really there: a canary in a resource's tag,
    answered through the gateway and judged by policy, so also recorded."""
    own = stage.world.control("POST", "azure-token", {"mint": "operator"})["access_token"]
    url = f"{stage.world.env['SIM_AZURE_URL']}{VAULT}?api-version=2024-04-01"
    tags = json.dumps({"tags": {"note": "azcanary.planted"}}).encode()
    request = urllib.request.Request(url, tags, method="PATCH", headers={
        "Authorization": f"Bearer {own}", "Content-Type": "application/json"})
    context = ssl.create_default_context(cafile=stage.world.ca)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        hold(answer.status in (200, 202), f"the emulator answered {answer.status}")
    stage.wire.request("GET", f"{VAULT}?{VERSION}", [("Authorization", f"Bearer {token}")])
    places = find(everything(stage))
    hold("answers" in places, f"the planted leak was not found in the answers: {places}")
