"""Whatever drivers and people do to a store, one after the other, it does what the model says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.databases import fresh_url
from tests.stateful.machine import Place, StoreMachine

SCALE = float(os.environ.get("MC_TEST_SCALE", "1"))
EXAMPLES = {"sqlite": 150, "postgres": 30, "mariadb": 30}
STEPS = 50
MEMORY = Path("/dev/shm")


@contextmanager
def quick_url(name: str) -> Iterator[str]:
    """Yield the URL of an empty store that need not survive the machine."""
    if name == "sqlite" and MEMORY.is_dir():
        with TemporaryDirectory(prefix="mc_test_", dir=MEMORY) as folder:
            yield f"sqlite:///{folder}/flows.sqlite3"
    else:
        with fresh_url(name) as url:
            yield url.replace("search_path", "synchronous_commit=off -c search_path")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_store_does_what_its_model_says(name: str) -> None:
    found = settings(
        max_examples=max(1, round(EXAMPLES[name] * SCALE)),
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
    )
    with quick_url(name) as url, closing(Place(url)) as place:
        run_state_machine_as_test(lambda: StoreMachine(place), settings=found)
