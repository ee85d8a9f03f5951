"""The items of a run, how far each has come, and which job is its own. Nothing here waits or asks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from uuid import UUID

from .client import Job, Run
from .occurrence import key
from .spec import Poll

# How long a job that Azure took may be missing from its list.
HIDDEN = timedelta(minutes=10)
# A job that was there already began at most so long before.
BEFORE = timedelta(hours=24)
# Clocks differ by less: the gateway sends no change where they do not.
SKEW = timedelta(minutes=2)
# What may have been sent is not sent again after so long: the gateway keeps its keys for a day.
KEY_LASTS = timedelta(hours=12)


class Step(Enum):
    """How far one item has come."""

    READY = "ready"
    # The request may have been sent: sent again, under the same key, it is not done twice.
    SENT = "sent"
    # The gateway asks for the consent of others.
    ASKED = "asked"
    # Azure took it: its job is to be found by the decision's id.
    ACCEPTED = "accepted"
    # Azure has a job on this item already: it is to be found.
    ADOPTING = "adopting"
    # Its job is known.
    WORKING = "working"
    # Its job ended well: its recovery point is to be looked at.
    CHECKING = "checking"
    ENDED = "ended"

    @property
    def holds_slot(self) -> bool:
        """Whether it takes one of the places of its region. Who waits for people takes none."""
        return self in (Step.SENT, Step.ACCEPTED, Step.ADOPTING, Step.WORKING)

    @property
    def is_working(self) -> bool:
        return self in (Step.ACCEPTED, Step.ADOPTING, Step.WORKING)


@dataclass
class Item:
    """One item of a run, in the memory of its process."""

    vault: str
    id: str
    name: str
    key: UUID
    step: Step = Step.READY
    state: str = "Scheduled"
    reason: str = ""
    approval: str | None = None
    expires: datetime | None = None
    # Since when people are asked, and how long they were before; whether nothing but they can go on.
    asked_at: datetime | None = None
    waited: timedelta = timedelta()
    pending: bool = False
    decision: str | None = None
    job: str | None = None
    job_started: datetime | None = None
    sent_at: datetime | None = None
    seen_at: datetime | None = None
    due_at: datetime | None = None
    doubt: bool = False
    attempts: int = 0
    counted: int = 0

    @classmethod
    def new(cls, run: Run, vault: str, id_: str, name: str) -> "Item":
        return cls(vault, id_, name, key(run.id, id_))

    @property
    def is_open(self) -> bool:
        return self.step is not Step.ENDED

    def is_due(self, now: datetime) -> bool:
        return self.due_at is None or self.due_at <= now

    def answered(self, now: datetime) -> None:
        """People have answered, or are not what it waits for."""
        self.waited, self.asked_at = self.waited_until(now), None

    def waited_until(self, now: datetime) -> timedelta:
        """How long people were asked about it, by now."""
        return self.waited + (now - self.asked_at if self.asked_at else timedelta())

    def end(self, state: str, reason: str) -> None:
        self.step, self.state, self.reason, self.due_at = Step.ENDED, state, reason, None

    def left(self) -> str:
        """What an item that is given up leaves at Azure."""
        if self.step is Step.WORKING:
            return f"; job {self.job} goes on at Azure"
        if self.step is Step.CHECKING:
            return f"; job {self.job} is done, and was not looked at"
        if self.step in (Step.READY, Step.ASKED, Step.SENT) and not self.doubt:
            return "; nothing was sent" if self.step is not Step.SENT else "; Azure took nothing"
        return "; it may have reached Azure"


def outcome(items: list[Item]) -> str:
    """What the items of a run come to, once all of them have ended."""
    states = Counter(item.state for item in items)
    # A run that backed nothing up has not done what it is for.
    if items and states["Completed"] == len(items):
        return "Completed"
    if states["Completed"]:
        return "CompletedWithFailures"
    for state in ("Denied", "TimedOut"):
        if items and states[state] == len(items):
            return state
    return "Failed"


def tally(items: list[Item]) -> str:
    """How many items are in which state."""
    counts = Counter(item.state for item in items)
    return ", ".join(f"{counts[state]} {state}" for state in sorted(counts))


def told(items: list[Item]) -> str:
    """The message of a run's last state: how many, and why those failed that did."""
    bad = [f"{item.name}: {item.state}: {item.reason}" for item in items if item.state != "Completed"]
    more = [f"and {len(bad) - 20} more"] if len(bad) > 20 else []
    return "\n".join([tally(items), *bad[:20], *more])


def own_job(item: Item, jobs: list[Job], names: list[str]) -> Job | None:
    """The job of an item in a list of its vault's."""
    if item.job is not None:
        return next((job for job in jobs if job.id == item.job), None)
    if item.step is Step.ADOPTING:
        return adopted(item, jobs, names)
    return next((job for job in jobs if job.is_of(item.decision)), None)


def adopted(item: Item, jobs: list[Job], names: list[str]) -> Job | None:
    """A job on an item that was begun by somebody else, or by a request of ours without an answer: it goes
    on, or ended after ours. Jobs say what they work on by name only; where another item has the same,
    nothing is taken for it."""
    known = next((job for job in jobs if job.is_of(item.decision)), None)
    if known or item.sent_at is None:
        return known
    own, from_ = _friendly(item.name), item.sent_at - SKEW
    alone = sum(_friendly(name) == own for name in names) < 2

    def mine(job: Job) -> bool:
        container = job.container.lower()
        return job.friendly.lower() == own and (container in item.id.lower() if container else alone)

    fresh = [job for job in jobs if mine(job) and (job.is_running or (job.ended is not None and job.ended >= from_))]
    return max(fresh, key=lambda job: (job.is_running, job.started.timestamp() if job.started else 0.0), default=None)


def _friendly(name: str) -> str:
    return name.rpartition("/")[2].lower()


def since(items: Iterable[Item], now: datetime) -> datetime:
    """From when on jobs of these items are looked at."""
    began = []
    for item in items:
        times = [at for at in (item.job_started, item.sent_at) if at]
        if item.is_open and times:
            others = item.state == "Adopted" or item.step is Step.ADOPTING
            began.append(min(times) - (BEFORE if others else SKEW))
    return min(began, default=now)


def next_look(first: datetime, now: datetime, poll: Poll) -> datetime:
    """When jobs are looked at again: soon at first, and less often after a while."""
    waited = (now - first).total_seconds()
    wait = poll.first_s if waited < 600 else min(poll.first_s * 2, poll.max_s) if waited < 3_600 else poll.max_s
    return now + timedelta(seconds=wait)
