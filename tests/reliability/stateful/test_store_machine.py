"""Whatever runners and people do to a store, one after the other, it does what the model says."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.reliability.stateful.machine import Place, StoreMachine
from tests.support.databases import quick_url
from tests.support.trials import SCALE, Trial

PARTS = 5
WHOLE = {"sqlite": 30, "postgres": 6, "mariadb": 6}  # examples of each part
SAMPLE = {"sqlite": 12, "postgres": 3, "mariadb": 3}
STEPS = 50


@pytest.mark.reliability(sample=1, of_each="name")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", WHOLE)
def test_a_store_does_what_its_model_says(name: str, part: int, trial: Trial) -> None:
    found = settings(
        max_examples=trial.size(max(1, round(WHOLE[name] * SCALE)), SAMPLE[name]),
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
    )
    with quick_url(name) as url, closing(Place(url)) as place:
        drawn = seed(trial.random.random())(lambda: StoreMachine(place))
        run_state_machine_as_test(drawn, settings=found)
