"""How often a runner waits for the server to claim flows, to save their steps, and to give them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.databases import fresh_url
from tests.support.round_trips import RoundTrips, counted_url

FEW, MANY = 4, 24


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, RoundTrips]]:
    with fresh_url(request.param) as url, counted_url(url) as found:
        yield found


def chain_of_effects(length: int) -> dict[str, Any]:
    return {"tasks": [{"key": f"t{number}", "task_type": "step"} for number in range(length)]}


def spread_of_effects(length: int) -> dict[str, Any]:
    mapping = {"skeleton": {"task_type": "step"}}
    params = {"items": list(range(length)), "mapping_params": mapping}
    return {"tasks": [{"key": "all", "task_type": "spread", "task_params": params}]}


@pytest.mark.parametrize("make_spec", [chain_of_effects, spread_of_effects])
def test_a_step_that_is_saved_costs_a_round_trip_and_its_commit(
    server: tuple[str, RoundTrips], make_spec: Callable[[int], dict[str, Any]]
) -> None:
    url, trips = server
    costs, clock = [], ManualClock()  # nothing is looked at again because the machine is slow
    with FlowStore(url, clock=clock) as store:
        runner = FlowRunner(store, FlowEngine(task_handlers={"step": lambda: None}, clock=clock))
        for length in (FEW, FEW, MANY):  # the first opens the database
            flow = Flow.from_flow_spec(make_spec(length))
            store.create(flow)
            before = trips.count
            runner.tick()
            assert store.summary(flow.key).status == "COMPLETED"
            costs.append(trips.count - before)
    # psycopg has its BEGIN synchronised too, and does not wait for that
    most = 3 if url.startswith("postgresql") else 2
    assert round((costs[-1] - costs[-2]) / (MANY - FEW)) == most


def test_flows_are_claimed_and_given_back_in_as_many_round_trips_however_many_they_are(
    server: tuple[str, RoundTrips],
) -> None:
    url, trips = server
    costs: list[int] = []
    with FlowStore(url) as store:
        for count in (FEW, FEW, MANY):  # the first opens the database
            store.create_many(Flow.from_flow_spec(chain_of_effects(1)) for _ in range(count))
            before = trips.count
            leases = store.claim(owner="me", limit=count)
            assert len(leases) == count
            store.release(*leases)
            costs.append(trips.count - before)
    assert costs[-1] <= costs[-2] + 2  # statements that the driver prepares
