"""When what may pass is tried again: longer and longer waits, of which a random part is taken, and
never sooner than the other side asks for."""

import random

from .spec import Retry

# More is a mistake, or a way to hold a backup up.
LONGEST_ASKED = 3_600.0


def wait(retry: Retry, attempt: int, asked: float | None, share: float | None = None) -> float:
    """Seconds until the next attempt; `attempt` is the number of those that were made."""
    share = random.random() if share is None else share
    most = min(retry.first_s * 2 ** min(max(attempt - 1, 0), 30), retry.cap_s)
    own = most * share
    floor = min(asked or 0.0, LONGEST_ASKED)
    # Who is asked to wait waits a little more, so that all who were do not come back at once.
    return max(own, floor + min(own, floor / 4))
