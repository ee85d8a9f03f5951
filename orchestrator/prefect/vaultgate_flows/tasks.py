"""What is asked of the gateway, as tasks of Prefect: each is one question, and none is ever cached.

A cached answer to "how is the job" would be the first one for ever, so every task has `NO_CACHE`. What goes
wrong is a value here, not an exception: the flow decides what it means, and no task is retried by Prefect,
which knows no `Retry-After`.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from .client import Gateway, Job, Protected, Run, Sent, Standing, Trouble
from .items import Item, adopted
from .verdict import Kind, Verdict

# The global limit that backups of all regions share; without it there is none.
LIMIT = "arm-writes"
# Longest wait for a place in it before the attempt counts as one that was not sent, seconds.
PATIENCE = 60.0

T = TypeVar("T")


def _asked(ask: Callable[[], T]) -> T | Trouble:
    try:
        return ask()
    except Trouble as trouble:
        return trouble


@task(name="list-items", task_run_name="list-items {vault}", cache_policy=NO_CACHE, retries=0)
def list_items(gateway: Gateway, vault: str, run: Run) -> list[Protected] | Trouble:
    """The protected items of a vault."""
    return _asked(lambda: gateway.protected(vault, run))


@task(name="trigger", task_run_name="trigger {name}", cache_policy=NO_CACHE, retries=0)
def trigger(gateway: Gateway, name: str, item: Item, keep_until: datetime, approval: str | None,
            run: Run) -> Sent | Trouble:
    """One request for one backup, under the item's key."""
    place = ExitStack()
    try:
        place.enter_context(concurrency(LIMIT, timeout_seconds=PATIENCE))
    except Exception as error:  # the server is away, or there is no place: nothing was sent
        return Trouble(Verdict(Kind.NOT_SENT, message=f"no place in `{LIMIT}`: {type(error).__name__}"))
    try:
        return _asked(lambda: gateway.back_up(item.id, name, item.key, keep_until, approval, run))
    finally:
        # A place that cannot be given back runs out by itself; the answer is not lost for it.
        with suppress(Exception):
            place.close()


@task(name="approval", task_run_name="approval {id_}", cache_policy=NO_CACHE, retries=0)
def approval_standing(gateway: Gateway, id_: str, run: Run) -> Standing | Trouble:
    """How an approval stands."""
    return _asked(lambda: gateway.approval(id_, run))


@task(name="list-jobs", task_run_name="list-jobs {vault}", cache_policy=NO_CACHE, retries=0)
def list_jobs(gateway: Gateway, vault: str, since: datetime, run: Run) -> list[Job] | Trouble:
    """The jobs of a vault: one list, whatever the number of items."""
    return _asked(lambda: gateway.backups(vault, since, run))


@task(name="adopt", task_run_name="adopt {name}", cache_policy=NO_CACHE, retries=0)
def adopt(name: str, item: Item, jobs: list[Job], names: list[str]) -> Job | None:
    """The job that Azure has on an item already."""
    return adopted(item, jobs, names)


@task(name="newest-recovery-point", task_run_name="newest-recovery-point {name}", cache_policy=NO_CACHE, retries=0)
def newest_point(gateway: Gateway, name: str, item: str, tier: str, run: Run) -> datetime | None | Trouble:
    """The newest recovery point of an item in a tier."""
    return _asked(lambda: gateway.newest_point(item, tier, run))
