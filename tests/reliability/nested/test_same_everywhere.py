"""Tasks inside of tasks come to the same in memory and on each kind of database, whatever the spec."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

import pytest

from mc.clock import ManualClock
from mc.context.json_values import copy_json
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from tests.support.databases import DATABASES, quick_url
from tests.support.interruptions import comparable
from tests.support.invariants import Seen, check_store
from tests.support.partial_flows import never_read_whole
from tests.support.random_nested_specs import nested_spec, signal_times
from tests.support.random_specs import Act
from tests.support.recorder import Recorder
from tests.support.trials import SCALE

SPECS = round(1_000 * SCALE)
BATCHES = 200
MOST_STEPS = 60
Signals = list[tuple[int, str]]  # at which step which is sent


class Outcome(NamedTuple):
    """What a flow has come to, and how."""

    events: list[ChangeEvent]
    flow_dict: dict[str, Any]


def run_in_memory(spec: dict[str, Any], key: str, signals: Signals) -> Outcome:
    clock, recorder = ManualClock(), Recorder()
    engine = FlowEngine(task_handlers={"act": Act}, clock=clock, observers=[recorder])
    flow = engine.flow_spec_to_flow(copy_json(spec), key=key)
    due: datetime | None = clock.now()
    for step in range(MOST_STEPS):
        for name in sent_at(step, signals):
            if flow.status not in FINISHED_FLOW_STATUSES:
                engine.signal(flow, name)
                due = clock.now()
        while due is not None and due <= clock.now() and flow.status not in FINISHED_FLOW_STATUSES:
            due = engine.tick_flow(flow).next_tick_at
        move_on(clock, due)
    return Outcome(recorder.events, tell(flow))


def sent_at(step: int, signals: Signals) -> list[str]:
    return [name for at, name in signals if at == step]


def move_on(clock: ManualClock, due: datetime | None) -> None:
    if due is not None:
        clock.advance(max((due - clock.now()).total_seconds(), 0))


def run_stored(spec: dict[str, Any], key: str, signals: Signals, url: str, part: int) -> Outcome:
    """Run a flow with a store of its own for each tick, so that nothing is left in memory between two."""
    clock, recorder = ManualClock(), Recorder()
    engine = FlowEngine(task_handlers={"act": Act}, clock=clock, observers=[recorder])
    with FlowStore(url, clock=clock) as kept:
        kept.create(engine.flow_spec_to_flow(copy_json(spec), key=key))
        for step in range(MOST_STEPS):
            for name in sent_at(step, signals):
                if kept.summary(key).status not in FINISHED_FLOW_STATUSES:
                    kept.messages.signal(key, name)
            while is_due(kept, key, clock):
                with FlowStore(url, clock=clock, partial_from=part) as store:
                    FlowRunner(store, engine).tick()
            move_on(clock, kept.summary(key).next_tick_at)
        check_store(kept, Seen())
        return Outcome(recorder.events, tell(kept.load(key)))


def is_due(store: FlowStore, key: str, clock: ManualClock) -> bool:
    due = store.summary(key).next_tick_at
    return due is not None and due <= clock.now()


def tell(flow: Flow) -> dict[str, Any]:
    """Return a flow dict without what a store alone keeps, and without what tells of the callers."""
    told: dict[str, Any] = comparable(flow.to_flow_dict())
    told["signals"] = [signal["name"] for signal in told.get("signals", ())]
    return told


@pytest.mark.reliability(sample=1, of_each="database")
@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_history_is_the_same_in_memory_and_stored(batch: int, database: str) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(quick_url(database))
        stack.enter_context(never_read_whole())
        for seed in range(batch, SPECS, BATCHES):
            random = Random(seed)
            spec, signals, part = nested_spec(random), signal_times(random), random.choice([1, 500])
            expected = run_in_memory(spec, f"f{seed}", signals)
            found = run_stored(spec, f"f{seed}", signals, url, part)
            assert found.events == expected.events, f"seed {seed}"
            assert found.flow_dict == expected.flow_dict, f"seed {seed}"
