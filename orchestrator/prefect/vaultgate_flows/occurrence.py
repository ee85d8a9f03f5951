"""The keys of one occurrence: the same however often it is tried, by whichever engine.

Never changed, or what was sent could be sent again: the bundled engine computes them alike.
"""

from datetime import datetime, timezone
from uuid import UUID, uuid5

NAMESPACE = UUID("8f1d5f4e-2c1b-4a57-9d3e-6b0a7c52e914")


def shown(at: datetime) -> str:
    """An instant as keys write it: UTC, and as many digits of a second as there are."""
    at = at.astimezone(timezone.utc)
    text = at.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{at.microsecond:06}".rstrip("0") if at.microsecond else ""
    return f"{text}{fraction}Z"


def run_id(flow: str, region: str, due: datetime) -> UUID:
    """The id of the run of a region that is due at an instant."""
    return uuid5(NAMESPACE, f"run\n{flow}\n{region}\n{shown(due)}")


def key(run: UUID, item: str) -> UUID:
    """The key under which the backup of an item in a run is sent. Ids differ in case between
    answers of Azure, and are the same."""
    # Of ASCII only, as the other engine does it.
    lower = item.translate({letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)})
    return uuid5(NAMESPACE, f"item\n{run}\n{lower}")
