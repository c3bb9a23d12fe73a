"""Virtual runners over one store: a thousand seeds, each its own order of events, failures and clocks."""

from __future__ import annotations

import pytest

from tests.reliability.simulation.simulation import simulate
from tests.support.trials import SCALE

SEEDS = round(1_000 * SCALE)
BATCHES = 40


@pytest.mark.reliability(sample=2)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_nothing_is_lost_whatever_the_order_of_events(batch: int) -> None:
    for seed in range(batch, SEEDS, BATCHES):
        try:
            simulate(seed)
        except Exception as error:
            error.add_note(f"Replay it: python -m tests.reliability.simulation.replay {seed}")
            raise
