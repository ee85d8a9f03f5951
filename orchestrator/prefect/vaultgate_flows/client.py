"""The gateway, as the flow sees it: lists of a vault, one backup of an item, how an approval stands.

Every request has the worker's own token and names the run. What an answer means is verdict's to say; what
is in it is read here, and nothing of it is trusted to be there.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote
from uuid import UUID

from .exchange import Broken, Http, NotSent
from .settings import Settings
from .tokens import Tokens
from .verdict import GARBAGE, Kind, Verdict, at, document, identifier, nothing_done, of, text

# Version of Azure's interface for backups.
API = "2026-08-01"
MOST_PAGES = 400


class Trouble(Exception):
    """There is nothing to read, and why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.said)
        self.verdict = verdict

    def __reduce__(self) -> tuple[Any, ...]:
        return Trouble, (self.verdict,)


@dataclass(frozen=True)
class Run:
    """Which run asks, by which definition."""

    id: UUID
    digest: str
    due: datetime


@dataclass(frozen=True)
class Protected:
    """An item that Azure protects; its name as flow files write it, with its kind."""

    id: str
    name: str
    last_recovery_point: datetime | None


@dataclass(frozen=True)
class Job:
    """A job of a vault. `activity` is the id of the decision that began it."""

    id: str
    status: str
    container: str
    friendly: str
    activity: str
    started: datetime | None
    ended: datetime | None
    error: str | None

    def is_of(self, decision: str | None) -> bool:
        """Whether a decision began it. Azure's examples show the id twice, with something between."""
        return bool(decision) and self.activity.lower().startswith(str(decision).lower())

    @property
    def is_running(self) -> bool:
        return self.status in ("InProgress", "Cancelling")


@dataclass(frozen=True)
class Sent:
    """An answer to a change: what it means, whose decision it was, whether it says that nothing was done,
    and whether it is the answer to an earlier request under the same key."""

    verdict: Verdict
    decision: str | None = None
    nothing_done: bool = False
    replayed: bool = False
    refusal: str | None = None


@dataclass(frozen=True)
class Standing:
    """How an approval stands: `pending`, `cooling` (given, and not usable yet), `approved`, `used` by a
    decision, or `gone`."""

    state: str
    used_by: str | None = None
    resource: str = ""
    expires: datetime | None = None


class Gateway:
    """The gateway, asked by one identity."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.gateway
        self._http = Http(settings.tls())
        self._tokens = Tokens(settings, self._http)

    def close(self) -> None:
        self._http.close()

    def protected(self, vault: str, run: Run) -> list[Protected]:
        """The protected items of a vault, whole."""
        pages = self._list(f"{vault}/backupProtectedItems?api-version={API}", run)
        return [one for one in map(_protected, pages) if one]

    def backups(self, vault: str, since: datetime, run: Run) -> list[Job]:
        """The backups of a vault since an instant, whole."""
        end = datetime.now(timezone.utc) + timedelta(hours=1)
        wanted = f"operation eq 'Backup' and startTime eq '{_azures(since)}' and endTime eq '{_azures(end)}'"
        # Spaces as `%20`: a `+` is a plus to others.
        query = f"api-version={API}&%24filter={quote(wanted, safe='*')}"
        return [one for one in map(_job, self._list(f"{vault}/backupJobs?{query}", run)) if one]

    def newest_point(self, item: str, tier: str, run: Run) -> datetime | None:
        """The newest recovery point of an item in a tier."""
        pages = self._list(f"{item}/recoveryPoints?api-version={API}", run)
        times = [_made_at(point) for point in pages if tier in _tiers(point)]
        return max((one for one in times if one), default=None)

    def back_up(self, item: str, name: str, key: UUID, keep_until: datetime, approval: str | None, run: Run) -> Sent:
        """Asks for a backup of an item, under a key: sent twice it is done once."""
        kind = {"sql": "AzureWorkloadBackupRequest", "share": "AzureFileShareBackupRequest"}
        until = keep_until.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"properties": {"objectType": kind.get(name.partition(":")[0], "IaasVMBackupRequest"),
                               "recoveryPointExpiryTimeInUTC": until}}
        headers = {"idempotency-key": str(key)}
        if approval:
            headers["vaultgate-approval"] = approval
        text_ = json.dumps(body, separators=(",", ":"), sort_keys=True)
        return self._send("POST", f"{item}/backup?api-version={API}", headers, text_.encode(), run)[0]

    def approval(self, id_: str, run: Run) -> Standing:
        """How an approval stands."""
        sent, body = self._send("GET", f"/_vaultgate/v1/approvals/{id_}", {}, b"", run)
        if sent.verdict.kind is Kind.MISSING and sent.verdict.code == "approval-unknown":
            return Standing("gone")
        _done(sent)
        found = document(body)
        state = text(found, "state")
        own = Standing("pending", text(found, "usedBy"), text(found, "resource") or "", instant(found, "expires"))
        if state == "pending":
            return own
        if state == "approved":
            # Who vetoes has some time for it.
            usable = instant(found, "usableFrom")
            cooling = usable is not None and usable > datetime.now(timezone.utc)
            return replace(own, state="cooling" if cooling else "approved")
        if state == "used":
            return replace(own, state="used")
        if state in ("rejected", "vetoed", "expired", "void"):
            return replace(own, state="gone")
        # A page of whoever stands before the gateway takes nothing back.
        raise Trouble(GARBAGE)

    def _list(self, path: str, run: Run) -> list[Any]:
        """All of a list, page by page."""
        found: list[Any] = []
        for _ in range(MOST_PAGES):
            sent, body = self._send("GET", path, {}, b"", run)
            _done(sent)
            page = document(body)
            values, link = at(page, "value"), text(page, "nextLink")
            if not isinstance(values, list):
                raise Trouble(GARBAGE)
            found += values
            if not link:
                return found
            # A link that leads elsewhere is none: a list that ends early would look whole.
            if not link.startswith(f"{self._url}/"):
                raise Trouble(GARBAGE)
            path = link[len(self._url):]
        raise Trouble(GARBAGE)

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes, run: Run) -> tuple[Sent, bytes]:
        first = self._once(method, path, headers, body, run)
        if first[0].verdict.kind is not Kind.UNAUTHENTICATED:
            return first
        # The token may have been taken back, or its key been rotated: once more with another.
        self._tokens.forget()
        return self._once(method, path, headers, body, run)

    def _once(self, method: str, path: str, headers: dict[str, str], body: bytes, run: Run) -> tuple[Sent, bytes]:
        # A path from an answer must not go on in the name of the host.
        if not path.startswith("/"):
            raise Trouble(GARBAGE)
        try:
            sent = {"authorization": f"Bearer {self._tokens.token()}", "x-vaultgate-flow-run": str(run.id),
                    "x-vaultgate-flow-digest": run.digest, **headers}
            if body:
                sent["content-type"] = "application/json"
            answer = self._http.fetch(method, f"{self._url}{path}", sent, body)
        except NotSent as error:
            raise Trouble(Verdict(Kind.NOT_SENT, message=str(error))) from None
        except Broken as error:
            raise Trouble(Verdict(Kind.BROKEN, message=str(error))) from None
        verdict = of(answer.status, answer.headers, answer.body)
        own = identifier(answer.headers.get("x-vaultgate-decision-id"))
        # The decision that Azure knows: of what was sent twice, the first.
        first = answer.headers.get("x-vaultgate-replayed-of")
        known = identifier(first) if first is not None else own
        done = nothing_done(answer.status, verdict)
        return Sent(verdict, known, done, first is not None, own), answer.body


def instant(value: Any, *path: str | int) -> datetime | None:
    """An instant of a document; none where it has no offset."""
    try:
        found = datetime.fromisoformat(text(value, *path) or "")
    except ValueError:
        return None
    return found.astimezone(timezone.utc) if found.tzinfo else None


def _done(sent: Sent) -> None:
    if sent.verdict.kind is not Kind.DONE:
        raise Trouble(sent.verdict)


def _azures(at_: datetime) -> str:
    """Azure's own way to write an instant; not by the locale, which has other words."""
    at_ = at_.astimezone(timezone.utc)
    return f"{at_:%Y-%m-%d} {at_.hour % 12 or 12:02}:{at_:%M:%S} {'AM' if at_.hour < 12 else 'PM'}"


def _protected(value: Any) -> Protected | None:
    id_, friendly = text(value, "id"), text(value, "properties", "friendlyName")
    source = (text(value, "properties", "sourceResourceId") or "").split("/")

    def part(name: str) -> str | None:
        lower = [one.lower() for one in source]
        place = lower.index(name.lower()) + 1 if name.lower() in lower else len(source)
        return source[place] if place < len(source) else None

    kind, owner = {
        "AzureIaasVM": ("vm", part("resourceGroups")),
        "AzureWorkload": ("sql", text(value, "properties", "serverName")),
        "AzureStorage": ("share", part("storageAccounts")),
    }.get(text(value, "properties", "backupManagementType") or "", ("", None))
    if id_ is None or friendly is None or owner is None:
        return None
    # What is stopped, or waits to be deleted, is not backed up by asking for it.
    stopped = text(value, "properties", "protectionState") in ("ProtectionStopped", "ProtectionPaused",
                                                               "BackupsSuspended")
    if stopped or at(value, "properties", "isScheduledForDeferredDelete") is True:
        return None
    return Protected(id_, f"{kind}:{owner}/{friendly}", instant(value, "properties", "lastRecoveryPoint"))


def _job(value: Any) -> Job | None:
    id_ = text(value, "name")

    def own(name: str) -> str:
        return text(value, "properties", name) or ""

    return id_ and Job(
        id=id_, status=own("status"), container=own("containerName"), friendly=own("entityFriendlyName"),
        activity=own("activityId"), started=instant(value, "properties", "startTime"),
        ended=instant(value, "properties", "endTime"),
        error=text(value, "properties", "errorDetails", 0, "errorString"),
    ) or None


def _made_at(point: Any) -> datetime | None:
    """When a recovery point was made: those of workloads say it under a name of their own."""
    return instant(point, "properties", "recoveryPointTime") or instant(point, "properties", "recoveryPointTimeInUTC")


def _tiers(point: Any) -> list[str]:
    """Where the data of a recovery point is, in the words of flow files."""
    details = at(point, "properties", "recoveryPointTierDetails")
    # A share's is a snapshot where nothing is told of a vault.
    if details is None and text(point, "properties", "objectType") == "AzureFileShareRecoveryPoint":
        return ["snapshot"]
    names = {"InstantRP": "snapshot", "HardenedRP": "vault", "ArchivedRP": "archive"}
    good = [one for one in details or () if text(one, "status") not in ("Deleted", "Disabled", "Invalid")] \
        if isinstance(details, list) else []
    return [names[kind] for kind in (text(one, "type") for one in good) if kind in names]
