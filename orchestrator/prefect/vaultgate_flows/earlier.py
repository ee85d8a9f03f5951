"""What earlier processes of the same occurrence leave behind in Prefect: when it was due, which approvals
it waits for, and how long people were asked.

A process that resumes, or that runs a crashed run again, begins at the top with nothing else in its hands.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import StateType

from .verdict import identifier

# Crashes in a row of one occurrence: more than its deadline allows.
MOST = 200


@dataclass(frozen=True)
class Earlier:
    """An occurrence so far."""

    due: datetime
    # Whether a process before this one may have sent something.
    any: bool
    # Ids of approvals that were waited for, oldest first: they begin with their time.
    approvals: tuple[str, ...]
    # How long it was suspended.
    waited: timedelta
    # How often this very run was suspended.
    suspended: int = 0


def read(run: FlowRun, rerun_of: str | None) -> Earlier:
    """Looks at a run, and at those that it runs again."""
    approvals: set[str] = set()
    waited = timedelta()
    with get_client(sync_client=True) as client:
        # As the server has it: the run in hand is as it was before it began.
        run = client.read_flow_run(run.id)
        suspended = len(run.empirical_policy.pause_keys or ())
        # Prefect does not count a run again that it resumes.
        again = run.run_count > 1 or suspended > 0 or rerun_of is not None
        for _ in range(MOST):
            for key in run.empirical_policy.pause_keys or ():
                approvals.update(filter(None, map(identifier, key.partition("/")[0].split(","))))
            states = sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)
            now = datetime.now(timezone.utc)
            ends = [*(state.timestamp for state in states[1:]), now]
            for state, end in zip(states, ends):
                if state.type is StateType.PAUSED:
                    waited += end - state.timestamp
            if rerun_of is None:
                break
            run = client.read_flow_run(UUID(rerun_of))
            rerun_of = (run.parameters or {}).get("rerun_of")
        else:
            raise ValueError(f"it was run again {MOST} times")
    if run.expected_start_time is None:
        raise ValueError("the run has no time at which it was due")
    return Earlier(run.expected_start_time.astimezone(timezone.utc), again, tuple(sorted(approvals)), waited, suspended)
