"""How far the recorder is behind: one rule for health, monitor and pacer."""

from __future__ import annotations

import pytest

from sluice.ledger.records import ShardPosition


@pytest.mark.parametrize(
    ("epoch", "counter", "behind"),
    [(3, 17, 7), (3, 10, 0), (3, 9, 0), (4, 500, None), (2, 500, None), (None, 0, None)],
)
def test_only_counters_of_the_same_epoch_are_compared(
    epoch: int | None, counter: int, behind: int | None
) -> None:
    at = ShardPosition(shard=0, epoch=3, counter=10, highest_number=0)
    assert at.behind(epoch, counter) == behind
