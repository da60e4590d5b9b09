"""When a delivery that failed is tried again: soon at first, then ever more seldom, three days."""

from __future__ import annotations

import random

ATTEMPT_S_MAX = 15.0
"""One attempt, from looking up the name to the end of the answer."""
GIVE_UP_AFTER_MS = 3 * 86_400_000
DELAYS_S = (5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 21_600)
"""After the first failure, the second, …; the last one is repeated."""
JITTER = 0.2
"""Of each delay, more or less: what failed together shall not come back together."""
RETRY_AFTER_S_MAX = 3600
"""An endpoint may ask for a longer pause than ours, up to this."""


def retry_in_ms(
    attempts: int,
    left_ms: int,
    *,
    asked_s: int | None = None,
    spread: float | None = None,
) -> int | None:
    """How long after the failure of attempt number `attempts` the next one is; None where that
    was the last.

    `left_ms` is what is left of the three days: the last attempt is at their end. `asked_s` is what
    the endpoint asked for (Retry-After); `spread` from -1 to 1 stands for chance.
    """
    if left_ms <= 0:
        return None
    delay_s = DELAYS_S[min(attempts, len(DELAYS_S)) - 1]
    if asked_s is not None:
        delay_s = max(delay_s, min(asked_s, RETRY_AFTER_S_MAX))
    chance = random.uniform(-1, 1) if spread is None else spread
    return min(round(delay_s * (1 + JITTER * chance) * 1000), left_ms)
