"""One run of one region, turn by turn: what is sent, what the answers mean, and when it is over.

It does what the bundled engine does, with one difference: nothing is written down. A process that dies is
made up for by the gateway, which does once what is sent twice under one key.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from prefect.futures import PrefectFuture

from . import retry, tasks
from .client import Gateway, Job, Protected, Run, Sent, Trouble
from .earlier import Earlier
from .items import HIDDEN, KEY_LASTS, SKEW, Item, Step, next_look, own_job, since
from .spec import Spec
from .verdict import Kind

# How soon an approval is looked at again while something else goes on, seconds.
APPROVAL_EVERY = 15.0
LONGEST_SLEEP = 30.0


def utc() -> datetime:
    return datetime.now(timezone.utc)


class TooLate(Exception):
    """The run cannot begin, or end, in time."""


class Engine:
    """The items of one run."""

    def __init__(self, spec: Spec, run: Run, earlier: Earlier, gateway: Gateway, log: logging.LoggerAdapter) -> None:
        self.spec, self.run, self.earlier, self.gateway, self.log = spec, run, earlier, gateway, log
        self.items: list[Item] = []
        self.keep_until = run.due + timedelta(seconds=spec.retain_s)

    # --- which items -------------------------------------------------------------

    def resolve(self) -> None:
        """Lists the items of each vault. What is named in full and is not there has failed: nobody is to
        believe that it is backed up."""
        found: dict[str, Item] = {}
        for target in self.spec.targets:
            protected = self._protected(target.vault)
            vault = target.vault
            if isinstance(protected, Trouble):
                # What one vault refuses for good is no reason to leave the others out.
                state = "Denied" if protected.verdict.kind is Kind.DENIED else "Failed"
                item = Item.new(self.run, vault, vault, vault.rpartition("/")[2])
                item.end(state, f"its items cannot be listed: {protected.verdict.said}")
                found[vault.lower()] = item
                continue
            for pattern in target.items:
                if pattern.is_whole and not any(pattern.meets(one.name) for one in protected):
                    item = Item.new(self.run, vault, f"{vault}#{pattern.text}", pattern.text)
                    item.end("Failed", "the vault does not protect it, or its protection is stopped")
                    found[item.id.lower()] = item
            for one in protected:
                if target.means(one.name):
                    item = Item.new(self.run, vault, one.id, one.name)
                    item.doubt = self.earlier.any
                    found[item.id.lower()] = item
        self.items = [found[id_] for id_ in sorted(found)]
        self._recall()

    def _protected(self, vault: str) -> list[Protected] | Trouble:
        """A list that cannot be read is asked for again, until the run is too late."""
        attempts = 0
        while True:
            answer = tasks.list_items(self.gateway, vault, self.run)
            lasting = (Kind.DENIED, Kind.MISSING, Kind.FAILED)
            if not isinstance(answer, Trouble) or answer.verdict.kind in lasting:
                return answer
            if self._passed() > timedelta(seconds=self.spec.deadline.finish_within_s):
                raise TooLate(f"the items of vault {vault} are not known: {answer.verdict.said}")
            attempts += 1
            wait = retry.wait(self.spec.retry, attempts, answer.verdict.wait)
            self.log.warning("the items of vault %s are not known, again in %.1f s: %s", vault, wait,
                             answer.verdict.said)
            time.sleep(wait)

    def _recall(self) -> None:
        """Approvals that an earlier process asked for belong to their items, however they stand."""
        for id_ in self.earlier.approvals:
            while isinstance(standing := tasks.approval_standing(self.gateway, id_, self.run), Trouble):
                if self._passed() > timedelta(seconds=self.spec.deadline.finish_within_s):
                    raise TooLate(f"approval {id_} cannot be looked at: {standing.verdict.said}")
                time.sleep(retry.wait(self.spec.retry, 1, standing.verdict.wait or 1.0))
            for item in self.items:
                if item.is_open and standing.resource.lower().removesuffix("/backup") == item.id.lower():
                    item.step, item.state, item.approval = Step.ASKED, "AwaitingApproval", id_
                    item.expires, item.doubt = standing.expires, False

    # --- the loop ----------------------------------------------------------------

    def go(self) -> list[str]:
        """Works until every item has ended, or all that is left waits for approvals: their ids."""
        while True:
            self._deadline()
            self._start()
            self._look()
            left = [item for item in self.items if item.is_open]
            if not left:
                return []
            # Those that were looked at and are not given yet: people are waited for without a process.
            if all(item.pending for item in left):
                return sorted({item.approval for item in left if item.approval})
            dues = [item.due_at for item in left if item.due_at]
            now = utc()
            later = min((at for at in dues if at > now), default=now + timedelta(seconds=0.2))
            time.sleep(min(max((later - now).total_seconds(), 0.01), LONGEST_SLEEP))

    def _passed(self, item: Item | None = None) -> timedelta:
        """How much of its time the run has used, or an item of it."""
        now, waited = utc(), timedelta()
        if not self.spec.deadline.counts_approvals:
            waited = self.earlier.waited + (item.waited_until(now) if item else timedelta())
        return now - self.run.due - waited

    def _deadline(self) -> None:
        """Ends what takes too long: by the time at which it was due, which no restart moves."""
        within = self.spec.deadline.finish_within_s
        for item in self.items:
            if item.is_open and self._passed(item) > timedelta(seconds=within):
                was = f" ({item.reason})" if item.reason else ""
                self._end(item, "TimedOut", f"not done within {within} s{was}{item.left()}")

    def _start(self) -> None:
        """Sends what is due, as many at a time as the region may."""
        now = utc()
        free = self.spec.parallel - sum(item.step.holds_slot for item in self.items)
        sending: list[tuple[Item, bool, PrefectFuture]] = []
        for item in self.items:
            if not item.is_due(now):
                continue
            approval = None
            if item.step is Step.ASKED:
                if not self._given(item, free > 0):
                    continue
                approval = item.approval
            elif item.step not in (Step.SENT, Step.READY) or (item.step is Step.READY and free <= 0):
                continue
            if item.step is not Step.SENT:
                free -= 1
            doubted = item.doubt and not approval
            if doubted and now - (item.sent_at or self.run.due) > KEY_LASTS:
                self._seek(item, "it was sent too long ago to be sent again")
                continue
            if item.step is Step.READY:
                item.step, item.state = Step.SENT, "Running"
            # An earlier process may have sent it as soon as it was due.
            item.sent_at = item.sent_at or (self.run.due if self.earlier.any else now)
            item.due_at = None
            future = tasks.trigger.submit(self.gateway, item.name, item, self.keep_until, approval, self.run)
            sending.append((item, doubted, future))
        for item, doubted, future in sending:
            self._answered(item, future.result(), doubted)

    # --- what answers mean ----------------------------------------------------------

    def _answered(self, item: Item, answer: Sent | Trouble, doubted: bool) -> None:
        """`doubted`: an earlier request may have reached Azure, so that a refusal of this one is no end."""
        if isinstance(answer, Trouble):
            sent = Sent(answer.verdict)
            if answer.verdict.kind in (Kind.BROKEN, Kind.NOT_SENT):
                if item.step is Step.ASKED:
                    # How the approval stands is looked at again: it is used once.
                    return self._asked_later(item)
                item.doubt = doubted or answer.verdict.kind is Kind.BROKEN
                return self._again(item, answer.verdict.said, None, False)
        else:
            sent = answer
        item.doubt = doubted or not sent.nothing_done
        item.decision = sent.decision or item.decision
        item.answered(utc())
        verdict = sent.verdict
        match verdict.kind:
            case Kind.DONE:
                self._waits(item, Step.ACCEPTED, "Running", f"Azure took it, decision {item.decision}")
            case Kind.IN_PROGRESS if not doubted:
                self._waits(item, Step.ADOPTING, "Adopted", "Azure has a job on this item already")
            case Kind.IN_PROGRESS:
                self._seek(item, "Azure has a job on this item")
            case Kind.UNKNOWN:
                # It may have been done. Its job, if there is one, has the decision's id.
                self._waits(item, Step.ACCEPTED, "Running",
                            "nobody knows whether it reached Azure: its job is looked for")
            case Kind.APPROVAL:
                item.step, item.state, item.approval = Step.ASKED, "AwaitingApproval", verdict.approval
                item.reason = f"waits for approval {verdict.approval}"
                item.attempts = item.counted = 0
                item.asked_at = utc()
                # How it stands is looked at once before the process ends for it.
                item.due_at = None
                self.log.info("%s: %s", item.name, item.reason)
            case Kind.DENIED | Kind.MISSING | Kind.FAILED if item.doubt:
                self._seek(item, verdict.said)
            case Kind.DENIED:
                by = f", decision {sent.refusal}" if sent.refusal else ""
                self._end(item, "Denied", f"{verdict.said}{by}")
            case Kind.MISSING | Kind.FAILED:
                self._end(item, "Failed", verdict.said)
            case Kind.TRANSIENT if sent.replayed and verdict.code != "request-in-flight":
                # Kept under the key: asked again it is the same answer, whatever became of it.
                self._waits(item, Step.ACCEPTED, "Running", verdict.said)
            case Kind.TRANSIENT:
                if item.step is Step.ASKED:
                    # Its approval is used up; Azure did nothing. Another one is asked for.
                    item.step, item.approval = Step.SENT, None
                self._again(item, verdict.said, verdict.wait, verdict.code != "request-in-flight")
            case _:
                self._again(item, verdict.said, None, False)

    def _given(self, item: Item, usable: bool) -> bool:
        """Looks at the approval of an item: whether it may be used now."""
        standing = tasks.approval_standing(self.gateway, item.approval or "", self.run)
        item.pending = False
        if isinstance(standing, Trouble):
            item.answered(utc())
            item.reason = f"approval {item.approval} cannot be looked at: {standing.verdict.said}"
            # A gateway that is away takes nothing back: the run waits for it, not for people.
            item.due_at = utc() + timedelta(seconds=self.spec.poll.first_s)
            return False
        item.expires = standing.expires
        if standing.state not in ("pending", "cooling", "approved"):
            item.answered(utc())
        if standing.state == "approved" and usable:
            self.log.info("%s: approval %s was given", item.name, item.approval)
            return True
        if standing.state == "approved":
            item.reason = f"approval {item.approval} was given; it waits for its turn"
            item.due_at = utc() + timedelta(seconds=self.spec.poll.first_s)
        elif standing.state == "used":
            # Given and used: by this very item, before a crash. Azure knows that decision.
            item.decision, item.sent_at = standing.used_by, item.sent_at or self.run.due
            self._waits(item, Step.ACCEPTED, "Running", f"approval {item.approval} was used")
        elif standing.state == "gone":
            self._end(item, "Denied", f"approval {item.approval} was refused, or ran out")
        else:
            item.reason = f"waits for approval {item.approval}"
            item.pending = standing.state == "pending"
            item.asked_at = item.asked_at or utc()
            self._asked_later(item)
        return False

    def _asked_later(self, item: Item) -> None:
        item.due_at = utc() + timedelta(seconds=APPROVAL_EVERY)

    def _waits(self, item: Item, step: Step, state: str, message: str) -> None:
        """It is looked at when the vault's jobs are."""
        now = utc()
        item.step, item.state, item.reason = step, state, message
        item.attempts = item.counted = 0
        item.seen_at, item.due_at = now, now + timedelta(seconds=self.spec.poll.first_s)
        self.log.info("%s: %s: %s", item.name, state, message)

    def _seek(self, item: Item, why: str) -> None:
        """A job that may be there is looked for, and nothing is sent any more."""
        item.sent_at = item.sent_at or self.run.due
        self._waits(item, Step.ADOPTING, "Running",
                    f"it may have reached Azure before: its job is looked for ({why})")

    def _again(self, item: Item, why: str, asked: float | None, counts: bool) -> None:
        """It is sent again later, or not at all any more. `counts`: as one of so many attempts; what was
        never heard is tried until it is too late."""
        item.attempts += 1
        item.counted += counts
        if counts and item.counted >= self.spec.retry.attempts:
            if item.doubt:
                return self._seek(item, why)
            return self._end(item, "Failed", f"after {item.counted} attempts: {why}")
        wait = retry.wait(self.spec.retry, item.attempts, asked)
        item.state, item.reason, item.due_at = "AwaitingRetry", why, utc() + timedelta(seconds=wait)
        self.log.warning("%s: attempt %d, again in %.1f s: %s", item.name, item.attempts, wait, why)

    def _end(self, item: Item, state: str, reason: str) -> None:
        item.end(state, reason)
        self.log.log(logging.INFO if state == "Completed" else logging.ERROR, "%s: %s: %s", item.name, state, reason)

    # --- what came of it -----------------------------------------------------------

    def _look(self) -> None:
        """Looks at the jobs, and at the recovery points of what is done, of each vault that has something
        due."""
        names = [item.name for item in self.items]
        for vault in self._due_vaults(lambda item: item.step.is_working):
            own = [item for item in self.items if item.vault == vault]
            jobs = tasks.list_jobs(self.gateway, vault, since(own, utc()), self.run)
            for item in own:
                if not item.step.is_working:
                    continue
                if isinstance(jobs, Trouble):
                    self._unseen(item, "the jobs of its vault", jobs)
                else:
                    self._job(item, jobs, names)
        checks = self.spec.checks
        for vault in self._due_vaults(lambda item: item.step is Step.CHECKING):
            # A tier is told by the recovery points of each item alone.
            listed: list[Protected] | Trouble = []
            if checks.younger_than_s is not None and checks.tier is None:
                listed = tasks.list_items(self.gateway, vault, self.run)
            now = utc()
            for item in self.items:
                if item.vault == vault and item.step is Step.CHECKING and item.is_due(now):
                    if isinstance(listed, Trouble):
                        self._unseen(item, "the items of its vault", listed)
                    else:
                        self._check(item, listed)

    def _due_vaults(self, wanted: Callable[[Item], bool]) -> list[str]:
        now = utc()
        return sorted({item.vault for item in self.items if wanted(item) and item.is_due(now)})

    def _next(self, item: Item) -> datetime:
        now = utc()
        return next_look(item.sent_at or now, now, self.spec.poll)

    def _unseen(self, item: Item, what: str, trouble: Trouble) -> None:
        """What cannot be looked at is looked at later, no sooner than asked; its deadline goes on."""
        item.reason = f"{what} cannot be listed: {trouble.verdict.said}"
        self.log.warning("%s: %s", item.name, item.reason)
        item.due_at = max(self._next(item), utc() + timedelta(seconds=min(trouble.verdict.wait or 0, 3_600)))

    def _job(self, item: Item, jobs: list[Job], names: list[str]) -> None:
        if item.step is Step.ADOPTING and item.job is None:
            job = tasks.adopt(item.name, item, jobs, names)
        else:
            job = own_job(item, jobs, names)
        now = utc()
        if job is None:
            # It may not be there yet. Never sent again.
            if now - (item.seen_at or item.sent_at or now) < HIDDEN:
                item.due_at = self._next(item)
                return
            return self._end(item, "Failed", f"Azure lists no job for it ({item.reason}): look at the item "
                                             "before it is backed up by hand")
        if item.job is None:
            self.log.info("%s: job %s", item.name, job.id)
        item.job, item.job_started, item.seen_at = job.id, job.started, now
        checks = self.spec.checks
        if job.is_running:
            item.step, item.reason, item.due_at = Step.WORKING, f"job {job.id} goes on", self._next(item)
        elif job.status in checks.accept or job.status in checks.warn:
            item.step, item.reason, item.due_at = Step.CHECKING, f"job {job.id} ended as {job.status}", None
            level = logging.INFO if job.status in checks.accept else logging.WARNING
            self.log.log(level, "%s: %s", item.name, item.reason)
        else:
            why = job.error or "Azure does not say why"
            self._end(item, "Failed", f"job {job.id} ended as {job.status}: {why}")

    def _check(self, item: Item, listed: list[Protected]) -> None:
        """Whether there is a recovery point that is what it has to be: a job that is done is none yet, and
        neither is last night's."""
        checks = self.spec.checks
        if checks.younger_than_s is None:
            return self._end(item, "Completed", "its job is done; no recovery point was asked for")
        if checks.tier is None:
            point = next((one.last_recovery_point for one in listed if one.id.lower() == item.id.lower()), None)
        else:
            answer = tasks.newest_point(self.gateway, item.name, item.id, checks.tier, self.run)
            if isinstance(answer, Trouble):
                return self._unseen(item, "its recovery points", answer)
            point = answer
        began = item.job_started or item.sent_at
        young = point is not None and utc() - point <= timedelta(seconds=checks.younger_than_s)
        if point is not None and young and (began is None or point >= began - SKEW):
            return self._end(item, "Completed", f"recovery point of {point.isoformat()}")
        # The data may still be on its way into the tier: its deadline says for how long.
        item.reason = f"its job is done; its newest recovery point is of {point.isoformat()}" if point else \
            "its job is done; there is no recovery point of this kind yet"
        item.due_at = self._next(item)
