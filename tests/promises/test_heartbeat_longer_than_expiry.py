"""A lease cannot run out between two beats: a heartbeat that is too slow for it is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mc.errors import McError
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore


@pytest.fixture
def store() -> Iterator[FlowStore]:
    with FlowStore("sqlite://") as opened:
        yield opened


@pytest.mark.parametrize("heartbeat_seconds", [20, 20.5, 60, 600, 0, -1, float("nan"), float("inf")])
def test_a_heartbeat_of_a_third_of_the_lease_or_more_is_refused(
    store: FlowStore, heartbeat_seconds: float
) -> None:
    with pytest.raises(McError, match=r"heartbeat of .* too slow for a lease of 60"):
        FlowRunner(store, FlowEngine(), lease_seconds=60, heartbeat_seconds=heartbeat_seconds)


@pytest.mark.parametrize(
    "options",
    [
        {"lease_seconds": 60, "heartbeat_seconds": 19.9},
        {"lease_seconds": 0.3, "heartbeat_seconds": 0.01},
        {"lease_seconds": 7},
    ],
)
def test_a_quicker_one_is_taken(store: FlowStore, options: dict[str, Any]) -> None:
    settings = FlowRunner(store, FlowEngine(), **options).settings
    assert 0 < settings.heartbeat_seconds < settings.lease_seconds / 3
    assert settings.heartbeat_seconds == options.get("heartbeat_seconds", settings.lease_seconds / 6)
