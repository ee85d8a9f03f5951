"""The one flow: a region of a flow file, as its parameter says it.

The keys of a run come from the time at which it was due, never from its id: whoever runs the same slot again
backs nothing up twice.
"""

from datetime import datetime, timedelta, timezone
from typing import Any

from prefect import flow, get_run_logger
from prefect.context import get_run_context
from prefect.flow_runs import suspend_flow_run
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from . import earlier, occurrence
from .client import Gateway, Run
from .engine import Engine, TooLate
from .items import KEY_LASTS, outcome, told
from .settings import Settings
from .spec import Spec

# Requests for backups at a time, at most; a region's `parallel` is less.
MOST_THREADS = 32


@flow(name="backup-region", retries=0, persist_result=False, validate_parameters=False,
      task_runner=ThreadPoolTaskRunner(max_workers=MOST_THREADS))  # type: ignore[arg-type]
def backup_region(spec: dict[str, Any], rerun_of: str | None = None) -> State:
    """Backs up one region of a flow, and looks at what came of it.

    `rerun_of` is the id of a run that crashed: this one is the same occurrence, and sends the same keys.
    """
    log = get_run_logger()
    try:
        wanted, settings = Spec.read(spec), Settings.read()
        if wanted.gateway != settings.gateway:
            raise ValueError("the gateway of the definition is not VAULTGATE_URL of the worker")
        before = earlier.read(get_run_context().flow_run, rerun_of)  # type: ignore[union-attr]
        gateway = Gateway(settings)
    except (ValueError, OSError) as error:
        return Failed(message=str(error))
    run = Run(occurrence.run_id(wanted.flow, wanted.region, before.due), wanted.definition_digest, before.due)
    log.info("run %s, due at %s%s", run.id, occurrence.shown(run.due), ", again" if before.any else "")
    # Keys are kept for a day: a slot that is older may have been run by somebody whom nobody remembers.
    within = min(timedelta(seconds=wanted.deadline.start_within_s), KEY_LASTS)
    if not before.any and datetime.now(timezone.utc) - run.due > within:
        return Failed(name="Missed", message=f"nobody ran it within {within.total_seconds():.0f} s")
    try:
        engine = Engine(wanted, run, before, gateway, log)
        engine.resolve()
        if not engine.items:
            return Failed(message="none of its vaults has an item that it means")
        approvals = engine.go()
    except TooLate as late:
        return Failed(name="TimedOut", message=str(late))
    finally:
        gateway.close()
    if approvals:
        _suspend(approvals, engine)
    state, message = outcome(engine.items), told(engine.items)
    return Completed(message=message) if state == "Completed" else Failed(name=state, message=message)


def _suspend(approvals: list[str], engine: Engine) -> None:
    """Ends the process until people have answered. Whoever resumes it too early suspends it again, for
    which the key has to be another one."""
    now = datetime.now(timezone.utc)
    ends = [item.expires for item in engine.items if item.is_open and item.expires]
    if engine.spec.deadline.counts_approvals:
        ends = [min([*ends, engine.run.due + timedelta(seconds=engine.spec.deadline.finish_within_s)])]
    # An approval that ran out: the run fails then, without anybody.
    left = (max(ends, default=now + timedelta(hours=24)) - now).total_seconds() + 60
    suspend_flow_run(timeout=max(int(left), 60), key=f"{','.join(approvals)}/{engine.earlier.suspended + 1}")
