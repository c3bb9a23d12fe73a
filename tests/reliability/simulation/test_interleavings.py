"""Two runners, or a runner and a person, on small flows: every order of their transactions is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mc.errors import FlowNotFoundError, StaleFlowError, StoreError
from mc.flows.flow import Flow
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from tests.reliability.simulation.schedules import Bounds, draw, explore
from tests.reliability.simulation.stage import Process
from tests.reliability.simulation.workload import make_engine
from tests.reliability.simulation.world import World
from tests.support.trials import SCALE, Trial

SAMPLE = 25  # orders of each scenario
Body = Callable[[World, FlowStore, str], None]
Task = dict[str, Any]


def touch(key: str, *precursors: str, **params: Any) -> Task:
    return {"key": key, "task_type": "touch", "precursors": list(precursors), "task_params": params}


def tick(world: World, store: FlowStore, name: str, **options: Any) -> None:
    engine = make_engine(store.clock)
    runner = FlowRunner(store, engine, owner=name, task_ctx={"world": world}, **options)
    report = runner.tick()
    assert not report.errors, report.errors


def tick_one_at_a_time(world: World, store: FlowStore, name: str) -> None:
    tick(world, store, name, batch_size=1)


def cancel(world: World, store: FlowStore, name: str) -> None:
    try:
        flow = store.load("f0")
        if flow.status not in FINISHED_FLOW_STATUSES:
            make_engine(store.clock).cancel_flow(flow)
            store.save(flow)
    except StaleFlowError:
        pass  # a runner holds it


def pause(world: World, store: FlowStore, name: str) -> None:
    try:
        flow = store.load("f0")
        if flow.status in ("PENDING", "RUNNING"):
            flow.change_status("PAUSED")
            store.save(flow)
    except StaleFlowError:
        pass


def delete(world: World, store: FlowStore, name: str) -> None:
    try:
        store.upkeep.delete("f0")
    except FlowNotFoundError:
        raise
    except StoreError:
        pass  # a runner holds it


@dataclass(frozen=True)
class Scenario:
    """Flows, and who does what with them.

    Attributes:
        flows: the tasks of each.
        acts: what each process does.
        bounds: what may happen.
        at_least: how many orders there are at least, so that none is lost unseen.
        parts: how many tests share them, so that none takes long.
        ends: the statuses in which the flows may end.
        once: whether no call may be made twice, because nothing is interrupted.
    """

    flows: list[list[Task]]
    acts: list[Body]
    bounds: Bounds
    at_least: int
    parts: int = 1
    ends: frozenset[str | None] = frozenset({"COMPLETED"})
    once: bool = False


SUB_FLOW = {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [touch("inner")]}}}
FAILING = {**touch("t", fails=1), "cfg": {"retry": {"max_attempts": 2, "delay": 0, "jitter": 0}}}
SCENARIOS = {
    "one task": Scenario([[touch("t")]], [tick, tick], Bounds(), 400, once=True),
    "two flows, one at a time": Scenario(
        [[touch("t")], [touch("t")]], [tick_one_at_a_time] * 2, Bounds(deviations=4), 2_000, 3, once=True
    ),
    "a retry": Scenario([[FAILING]], [tick, tick], Bounds(deviations=5), 600, once=True),
    "a lease that runs out": Scenario(
        [[touch("t")]], [tick, tick], Bounds(deviations=3, expiries=1), 1_000, 2
    ),
    "leases that run out twice": Scenario(
        [[touch("a"), touch("b", "a")]], [tick, tick], Bounds(deviations=2, expiries=2), 400
    ),
    "a runner is killed": Scenario(
        [[touch("a"), touch("b", "a")]], [tick, tick], Bounds(deviations=3, expiries=1, kills=1), 5_000, 6
    ),
    "a sub-flow": Scenario([[SUB_FLOW]], [tick, tick], Bounds(deviations=4), 700, 2, once=True),
    "a sub-flow, a runner is killed": Scenario(
        [[SUB_FLOW]], [tick, tick], Bounds(deviations=2, expiries=1, kills=1), 900, 2
    ),
    "cancelled meanwhile": Scenario(
        [[touch("a"), touch("b", "a")]],
        [tick, cancel],
        Bounds(deviations=3, expiries=1),
        1_400,
        3,
        ends=frozenset({"COMPLETED", "CANCELLED"}),
    ),
    "paused meanwhile": Scenario(
        [[touch("a"), touch("b", "a")]],
        [tick, pause],
        Bounds(deviations=3, expiries=1),
        1_400,
        3,
        ends=frozenset({"COMPLETED", "PAUSED"}),
    ),
    "deleted meanwhile": Scenario(
        [[SUB_FLOW]],
        [tick, delete],
        Bounds(deviations=3, expiries=1),
        2_000,
        4,
        ends=frozenset({"COMPLETED", None}),
    ),
}


def test_there_are_at_least_ten_thousand_orders() -> None:
    assert sum(scenario.at_least for scenario in SCENARIOS.values()) >= 10_000


PARTS = [(name, part) for name, scenario in SCENARIOS.items() for part in range(scenario.parts)]


@pytest.mark.reliability(sample=1, of_each="name")
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_every_order_leads_to_the_same_end(
    name: str, part: int, trial: Trial, figure: Callable[..., None]
) -> None:
    scenario = SCENARIOS[name]
    bounds = scenario.bounds
    if SCALE > 1 and bounds.deviations is not None:
        bounds = replace(bounds, deviations=bounds.deviations + 1)
    orders = transactions = 0
    for world in runs(scenario, bounds, part, trial):
        orders += 1
        transactions += world.transactions
    figure("Interleavings", row=name, column="orders", value=orders, add=True)
    figure("Interleavings", row=name, column="transactions", value=transactions, add=True)
    # The parts are not of one size, so each has to hold a share of its own only.
    assert orders >= (scenario.at_least / scenario.parts * 0.2 if trial.whole else SAMPLE)


def runs(scenario: Scenario, bounds: Bounds, part: int, trial: Trial) -> Iterator[World]:
    """Run the orders of a part, or a sample of all."""

    def begin(world: World) -> None:
        enter(world, scenario)

    def end(world: World) -> None:
        check(world, scenario)

    if trial.whole:
        return explore(begin, end, bounds, part=part, parts=scenario.parts)
    return draw(begin, end, bounds, trial.random, SAMPLE)


def enter(world: World, scenario: Scenario) -> None:
    store = world.store(Process("main"))
    store.create_many(
        Flow.from_flow_spec({"tasks": tasks}, key=f"f{number}") for number, tasks in enumerate(scenario.flows)
    )
    for number, act in enumerate(scenario.acts):
        name = f"{act.__name__}{number}"
        process = Process(name)
        own = world.store(process)
        world.stage.spawn(name, process, lambda act=act, own=own, name=name: act(world, own, name))


def check(world: World, scenario: Scenario) -> None:
    """What one more runner finds, when the leases have run out, ends as it must."""
    if scenario.once:
        assert max(world.effects.values()) == 1
    store = world.store(Process("main"))
    keys = [f"f{number}" for number in range(len(scenario.flows))]
    for _ in range(5):
        flows = {flow.key: flow.status for flow in store.query()}
        ends = {flows.get(key) for key in keys}
        if ends <= scenario.ends:
            break
        world.stage.now += 61.0
        finisher = Process("finisher")
        own = world.store(finisher)
        actor = world.stage.spawn("finisher", finisher, lambda own=own: tick(world, own, "finisher"))
        while not actor.done:
            world.stage.step(actor)
    assert ends <= scenario.ends, flows
    for key, status in flows.items():
        assert status in FINISHED_FLOW_STATUSES or "PAUSED" in flows.values(), (key, status)
