"""Flow dicts that somebody changed by hand: they are refused with a clean error, or go on and end or wait.

`make reliability` tries more of them, `MC_TEST_SCALE=10` ten times as many.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowFormatError, McError, NotJsonError
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston
from mc.statuses import FINISHED_FLOW_STATUSES
from tests.properties.test_mutated_specs import EVERYTHING, SILENT
from tests.support.invariants import Seen, find_violations, take_snapshot
from tests.support.mutations import mutate
from tests.support.trials import SCALE, Trial

PARTS = 4
WHOLE, SAMPLE = round(500 * SCALE), 60  # of each part
MAX_TICKS = 12

SPECS: list[dict[str, Any]] = [
    EVERYTHING,
    {"key": "chain", "tasks": [{"key": key, "task_type": "noop"} for key in "abc"]},
    {
        "key": "retry",
        "data": {"n": 1},
        "tasks": [
            {
                "key": "a",
                "task_type": "wire",
                "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
                "cfg": {"retry": {"max_attempts": 3, "delay": "1m"}},
            },
            {"key": "b", "task_type": "noop", "cfg": {"start_when": "all_finished"}},
        ],
    },
    {
        "key": "waits",
        "tasks": [
            {"key": "s", "task_type": "wait_for_signal", "task_params": {"signal": "go"}, "precursors": []},
            {
                "key": "w",
                "task_type": "wait",
                "task_params": {"duration": "2m"},
                "precursors": [],
                "cfg": {"timeout": "1m"},
            },
            {
                "key": "l",
                "task_type": "inline_flow",
                "precursors": [],
                "task_params": {
                    "flow_spec": {
                        "tasks": [
                            {"task_type": "noop"},
                            {"task_type": "wait", "task_params": {"duration": 5}},
                        ]
                    }
                },
            },
        ],
    },
]


@cache
def find_flow_dicts() -> list[str]:
    """Return the texts of flows as they stand after each of their ticks."""
    found: dict[str, None] = {}
    for spec in SPECS:
        clock = ManualClock()
        engine = FlowEngine(clock=clock, logger=SILENT, handler_modules=["math"])
        flow = engine.flow_spec_to_flow(spec)
        engine.signal(flow, "go", 1, id="1")
        for _ in range(8):
            found[json.dumps(flow.to_flow_dict())] = None
            at = engine.tick_flow(flow).next_tick_at
            clock.set(max(at or clock.now(), clock.now()))
    return list(found)


@pytest.fixture
def houston() -> Iterator[Houston]:
    with Houston("sqlite://", clock=ManualClock()) as opened:
        yield opened


@pytest.mark.reliability(sample=1)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_doctored_flow_is_refused_or_goes_on(
    part: int, trial: Trial, figure: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: Counter[str] = Counter()
    count = trial.size(WHOLE, SAMPLE)
    faults: list[str] = []
    for number in range(part, count * PARTS, PARTS):
        rng = random.Random(number)
        flow_dict = mutate(rng, json.loads(rng.choice(find_flow_dicts())))
        try:
            seen[try_flow_dict(flow_dict)] += 1
        except Exception as error:
            faults.append(f"{number}: {error!r:.400}")
    assert not faults, faults[:5]
    assert seen["refused"] > count / 5
    assert seen["accepted"] > count / 10
    for outcome, number in seen.items():
        row = f"flow dicts changed at random, {part + 1} of {PARTS}"
        figure("Hostile input", row=row, column=outcome, value=number)


def try_flow_dict(flow_dict: Any) -> str:
    """Try a flow dict in memory and in a store; raise what must not come out."""
    in_memory = tick_in_memory(flow_dict)
    stored = tick_stored(flow_dict)
    assert not (stored and not in_memory), "a store accepts what memory refuses"
    return "accepted" if stored else "refused"


def tick_in_memory(flow_dict: Any) -> bool:
    clock = ManualClock()
    engine = FlowEngine(clock=clock, logger=SILENT, handler_modules=["math"])
    try:
        flow = engine.flow_dict_to_flow(flow_dict)
    except McError:
        return False
    flow.check_invariants()
    for _ in range(MAX_TICKS):
        at = engine.tick_flow(flow).next_tick_at
        flow.check_invariants()
        if flow.status in FINISHED_FLOW_STATUSES or at is None:
            break
        clock.set(max(at, clock.now()))
    return True


def check_rows(houston: Houston) -> None:
    """Check the invariants of a store, but that what a flow dict calls begun could have begun."""
    snapshot = houston.store._database.read(take_snapshot)
    found = [
        line for line in find_violations(snapshot, Seen()) if "starts only when its start rule" not in line
    ]
    assert not found, found


def tick_stored(flow_dict: Any) -> bool:
    clock = ManualClock()
    with Houston("sqlite://", clock=clock, handler_modules=["math"]) as houston:
        try:
            key = houston.import_(flow_dict)
        except McError:
            return False
        check_rows(houston)
        for _ in range(MAX_TICKS):
            houston.tick()
            at = houston.summary(key).next_tick_at
            houston.explain(key)
            if at is None:
                break
            clock.set(max(at, clock.now()))
        check_rows(houston)
        assert houston.load(key).to_flow_dict()
    return True


class TestWhatDoesNotFitTogether:
    @pytest.fixture
    def ended(self) -> dict[str, Any]:
        engine = FlowEngine(clock=ManualClock(), logger=SILENT)
        flow = engine.flow_spec_to_flow(SPECS[1])
        while flow.status not in FINISHED_FLOW_STATUSES:
            engine.tick_flow(flow)
        return flow.to_flow_dict()

    @pytest.mark.parametrize(
        ("pointer", "value"),
        [
            ("status", "RUNNING"),
            ("finished_at", "\ud800"),
            ("finished_at", "yesterday"),
            ("finished_at", None),
            ("started_at", "2020-01-01"),
            ("deadline_at", "x"),
            ("key", ""),
            ("key", "a\0b"),
            ("key", "x" * 256),
            ("label", "a\0b"),
            ("parent_key", "a\0"),
            ("ticks", -1),
            ("depth", 2**80),
            ("graph/tasks/b/status", "PENDING"),
            ("graph/tasks/b/status", "RUNNING"),
            ("graph/tasks/b/status", "FAILED"),
            ("graph/tasks/b/attempt", -1),
            ("graph/tasks/b/attempt", 2**80),
            ("graph/tasks/b/started_at", "\ud800"),
            ("graph/tasks/b/finished_at", 5),
            ("graph/tasks/b/task_type", None),
            ("graph/tasks/b/attempts", [5]),
            ("graph/tasks/b/cfg", {"retry": {"max_attempts": "x"}}),
            ("graph/tasks/b/cfg", {"nonsense": 1}),
            ("cfg", {"max_running_tasks": "x"}),
            ("data", {"a": "\ud800"}),
        ],
    )
    def test_it_is_refused_and_the_place_is_named(
        self, houston: Houston, ended: dict[str, Any], pointer: str, value: Any
    ) -> None:
        *steps, last = pointer.split("/")
        container = ended
        for step in steps:
            container = container[step]
        container[last] = value
        with pytest.raises((FlowFormatError, NotJsonError), match=r"/|key") as caught:
            houston.import_(ended)
        assert caught.value.pointer
        assert houston.list() == []
