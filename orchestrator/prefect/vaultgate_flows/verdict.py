"""What an answer of the gateway means for what was asked: refused for good, to wait for people, to try
again, or done.

The gateway says itself whether it was policy, a limit or Azure: `x-vaultgate-decision`. Nothing is read
off a status that somebody else could have sent.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """What an answer means."""

    DONE = "done"
    # Policy, or the form of the request: never again as it is.
    DENIED = "denied"
    # Others have to agree first, under this approval.
    APPROVAL = "approval"
    # Azure works on the same item already.
    IN_PROGRESS = "in-progress"
    # It may have reached Azure, and nobody knows: look before anything else.
    UNKNOWN = "unknown"
    # It may pass.
    TRANSIENT = "transient"
    # The token was not taken.
    UNAUTHENTICATED = "unauthenticated"
    # What is named is not there.
    MISSING = "missing"
    # Azure refuses, and would again.
    FAILED = "failed"
    # Nothing was sent: no connection, or no token.
    NOT_SENT = "not-sent"
    # It may have arrived; there is no answer.
    BROKEN = "broken"


@dataclass(frozen=True)
class Verdict:
    """A meaning, and what was said: a stable code, words for people, and how long to stay away."""

    kind: Kind
    code: str = ""
    message: str = ""
    wait: float | None = None
    approval: str | None = None

    @property
    def said(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


GARBAGE = Verdict(Kind.TRANSIENT, "answer-malformed", "the answer cannot be read")


def at(value: Any, *path: str | int) -> Any:
    """What stands at a place of a document; none where there is nothing."""
    for step in path:
        fits = isinstance(value, list) and len(value) > step if isinstance(step, int) else isinstance(value, dict)
        if not fits:
            return None
        value = value[step] if isinstance(step, int) else value.get(step)
    return value


def text(value: Any, *path: str | int) -> str | None:
    found = at(value, *path)
    return found if isinstance(found, str) else None


def document(body: bytes) -> Any:
    """A body as JSON; none where it is not."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def of(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """Reads an answer of a change, or of a read."""
    decision = headers.get("x-vaultgate-decision", "")
    error = document(body)
    code, message = _refused(status, error)
    asked = headers.get("retry-after", "").strip()
    wait = float(asked[:9]) if asked.isascii() and asked.isdigit() else None

    def is_(kind: Kind) -> Verdict:
        return Verdict(kind, code, message, wait)

    if 200 <= status <= 299:
        return Verdict(Kind.DONE)
    if status == 401:
        return is_(Kind.UNAUTHENTICATED)
    if not decision:
        # An answer of whoever stands before the gateway: it says nothing of what was asked.
        return is_(Kind.TRANSIENT)
    if status == 403 and decision == "approval":
        approval = _approval(error)
        return Verdict(Kind.APPROVAL, code, message, None, approval) if approval else is_(Kind.DENIED)
    if code in ("request-in-flight", "approval-cooling-off"):
        return is_(Kind.TRANSIENT)
    if code in ("outcome-unknown", "reply-not-kept"):
        return is_(Kind.UNKNOWN)
    if status == 429 or decision == "limit":
        return is_(Kind.TRANSIENT)
    if status == 403:
        # Azure's own 403: a role may not have spread yet.
        return is_(Kind.DENIED if decision == "deny" else Kind.TRANSIENT)
    if in_progress(code):
        return is_(Kind.IN_PROGRESS)
    if status in (408, 412, 500, 502, 503, 504):
        return is_(Kind.TRANSIENT)
    if status == 404:
        return is_(Kind.MISSING)
    if decision == "deny":
        return is_(Kind.DENIED)
    # A redirect, or a page in place of an error, says nothing that would last.
    lasts = not 300 <= status <= 399 and code != str(status)
    return is_(Kind.FAILED if lasts else Kind.TRANSIENT)


def nothing_done(status: int, verdict: Verdict) -> bool:
    """Whether an answer says that nothing was done: neither by this request nor by another under its
    key."""
    if verdict.kind in (Kind.DONE, Kind.UNKNOWN) or verdict.code == "request-in-flight":
        return False
    if verdict.code in ("upstream-unreachable", "gateway-credential", "log-unavailable", "store-unavailable"):
        return True  # the gateway says so
    return status not in (408, 500, 502, 504)


def in_progress(code: str) -> bool:
    """Codes with which Azure says that a job runs already."""
    code = code.lower()
    return "operationinprogress" in code or "backupinprogress" in code


def _refused(status: int, error: Any) -> tuple[str, str]:
    reason = text(error, "error", "additionalInfo", 0, "info", "reason")
    # Of a denial by policy the rule's own code says more than that it was one.
    rule = text(error, "error", "details", 0, "code") if reason == "policy-denied" else None
    first = next((one for one in (rule, reason, text(error, "error", "code")) if one is not None), str(status))
    message = text(error, "error", "message")
    return first[:64], ("there is no reason in the answer" if message is None else message)[:500]


def _approval(error: Any) -> str | None:
    return identifier(text(error, "error", "additionalInfo", 0, "info", "approval", "approvalId"))


def identifier(given: str | None) -> str | None:
    """A UUID in its usual form: it stands in an address later."""
    try:
        return str(uuid.UUID(given)) if given else None
    except ValueError:
        return None
