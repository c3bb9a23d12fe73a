"""Hands on random flows at random moments: its state stays right, and completed work is never repeated."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.errors import ControlError
from mc.flows.controls.apply_control import apply_control
from mc.flows.controls.control import Control, make_control
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES
from mc.store.flow_store import FlowStore
from tests.support.control_invariants import tasks_set_back
from tests.support.invariants import Seen, check_store
from tests.support.random_specs import Act, wild_specs

MAX_TICKS = 400


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Random tasks, at times with a sub-flow inside a task, or below one, of random tasks too."""
    spec = draw(wild_specs())
    for key, task_type in (("inside", "inline_flow"), ("below", "flow")):
        if draw(st.booleans()):
            inner = draw(wild_specs())
            precursors = draw(st.sampled_from([[], *([task["key"]] for task in spec["tasks"])]))
            sub_flow = {"cfg": inner["cfg"], "tasks": inner["tasks"]}
            if draw(st.integers(0, 3)) == 0:  # three deep
                deepest = draw(wild_specs())
                held = {"key": "held", "task_type": "inline_flow", "precursors": []}
                params = {"flow_spec": {"cfg": deepest["cfg"], "tasks": deepest["tasks"]}}
                sub_flow["tasks"] = [*sub_flow["tasks"], {**held, "task_params": params}]
            spec["tasks"].append(
                {
                    "key": key,
                    "task_type": task_type,
                    "precursors": precursors,
                    "task_params": {"flow_spec": sub_flow},
                }
            )
    return spec


MOVES = st.lists(
    st.one_of(
        st.sampled_from([("tick", ()), ("tick", ()), ("nap", ()), ("trip", ())]),
        st.tuples(st.sampled_from(["cancel", "pause", "resume", "retry", "retry", "set"]), st.just(())),
        st.tuples(
            st.sampled_from(["retry", "skip", "skip", "set", "cancel"]),
            st.lists(st.integers(0, 30), min_size=1, max_size=2).map(tuple),
        ),
    ),
    min_size=3,
    max_size=25,
)
Moves = list[tuple[str, tuple[int, ...]]]
# what is mostly chosen for a command: tasks for which it is not refused
SUITABLE = {
    "retry": {"FAILED", "CANCELLED", "SKIPPED"},
    "skip": {"PENDING", "RUNNING", "WAITING", "FAILED"},
}


class Watched(Act):
    """Tells what it does, so that what is done twice is found out."""

    def tick_task(self) -> None:
        record: Record = self.task_ctx["record"]
        flow_key = self.task_ctx.flow.key
        place = (flow_key, self.task["key"])
        record.flows.add(flow_key)
        if place in record.done:
            record.repeated.append(place)
        super().tick_task()
        if self.task["status"] == "COMPLETED":
            record.done.add(place)


@dataclass
class Record:
    """What was done in a flow and in its sub-flows."""

    done: set[tuple[str, str]] = field(default_factory=set)
    repeated: list[tuple[str, str]] = field(default_factory=list)
    flows: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    set_back: dict[str, list[str]] = field(default_factory=dict)  # flow -> tasks, by the retry under way

    def on_change(self, event: ChangeEvent) -> None:
        """Take note of what a retry sets back: it is to be done again."""
        key = event.task_key
        if key is None or event.new_status != "PENDING" or event.old_status not in FINISHED_TASK_STATUSES:
            return
        before = self.set_back.setdefault(event.flow_key, [])
        if event.old_status == "COMPLETED":
            assert before, "a completed task was set back before any other"
            self.done.discard((event.flow_key, key))
        if before:
            self.skipped.add(key)  # it may begin anew
        before.append(key)

    def check(self) -> None:
        assert not self.repeated, "completed work was repeated"
        begun = Counter(re.sub(r"/\d+(?=/|$)", "", key) for key in self.flows)
        for place, count in begun.items():
            # a retry goes on inside; only what was skipped begins anew, and what stood on what is retried
            assert count == 1 or self.skipped & set(place.split("/")), f"{place} was begun {count} times"


class Hands(ABC):
    """A flow, and what can be done to it; after each step it is checked."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.clock = ManualClock()
        self.record = Record()
        self.ctx = {"record": self.record}
        self.engine = FlowEngine(task_handlers={"act": Watched}, clock=self.clock, observers=[self.record])
        self.completed: dict[str, Any] = {}
        self.start(spec)

    @abstractmethod
    def start(self, spec: dict[str, Any]) -> None: ...

    @abstractmethod
    def flow(self) -> Flow: ...

    @abstractmethod
    def tick(self) -> datetime | None:
        """Tick, and return when the next tick can do something."""

    @abstractmethod
    def ask(self, control: Control) -> None: ...

    @abstractmethod
    def trip(self) -> None:
        """Take the flow through what keeps it."""

    def check(self) -> None:
        flow = self.flow()
        flow.check_invariants()
        tasks = {key: task for key, task in flow.to_flow_dict()["graph"]["tasks"].items() if key != "ROOT"}
        for key, task in self.completed.items():
            assert tasks[key] == task, "a completed task was changed"
        self.completed = {key: task for key, task in tasks.items() if task["status"] == "COMPLETED"}
        self.record.check()

    def choose(self, kind: str, number: int) -> str:
        tasks = self.flow().to_flow_dict()["graph"]["tasks"]
        keys = [key for key in tasks if key != "ROOT"]
        suitable = [key for key in keys if tasks[key]["status"] in SUITABLE.get(kind, ())]
        if suitable and number % 5:
            return suitable[number % len(suitable)]
        return [*keys, "nobody"][number % (len(keys) + 1)]

    def do(self, move: str, numbers: tuple[int, ...]) -> None:
        if move == "nap":
            self.clock.advance(40)
        elif move == "trip":
            self.trip()
        elif move == "tick":
            self.tick()
        else:
            self.try_to_ask(move, tuple(self.choose(move, number) for number in numbers))
        self.check()

    def try_to_ask(self, kind: str, tasks: tuple[str, ...] = ()) -> bool:
        data = {"note": 1} if kind == "set" else None
        control = make_control(kind, tasks=tasks, by="ada", data=data)
        before = self.flow().to_flow_dict()
        self.record.set_back.clear()
        try:
            self.ask(control)
        except ControlError:
            assert self.flow().to_flow_dict() == before, "what was refused changed something"
            return False
        if kind == "retry":
            self.check_retry(before, tasks)
        if kind == "skip":
            self.record.skipped.update(tasks)
        return True

    def check_retry(self, before: dict[str, Any], chosen: tuple[str, ...]) -> None:
        """Compare what became PENDING with what stood on what was to be tried again."""
        tasks, after = before["graph"]["tasks"], self.flow().to_flow_dict()["graph"]["tasks"]
        retried = set(chosen) or {
            key
            for key, task in tasks.items()
            if task["status"] == "FAILED" and not task.get("cfg", {}).get("allow_failure")
        }
        if before["status"] in FINISHED_FLOW_STATUSES:
            retried |= {key for key, task in tasks.items() if task["status"] == "CANCELLED"}
        expected = tasks_set_back(before, retried)
        found = {
            key
            for key, task in after.items()
            if task["status"] == "PENDING" and tasks[key]["status"] != "PENDING"
        }
        assert expected == found
        assert all(after[key]["attempt"] == tasks[key]["attempt"] for key in found)  # it counts on
        self.completed = {key: task for key, task in self.completed.items() if key not in found}

    def run_to_its_end(self) -> None:
        for _ in range(MAX_TICKS):
            status = self.flow().status
            if status in FINISHED_FLOW_STATUSES:
                return
            if status == "PAUSED":
                assert self.try_to_ask("resume")
            due_at = self.tick()
            self.check()
            if due_at is not None:
                self.clock.advance(max((due_at - self.clock.now()).total_seconds(), 0))
        raise AssertionError(f"the flow never ends; it is {status}")


class InMemory(Hands):
    def start(self, spec: dict[str, Any]) -> None:
        self.in_memory = self.engine.flow_spec_to_flow(spec)

    def flow(self) -> Flow:
        return self.in_memory

    def tick(self) -> datetime | None:
        return self.engine.tick_flow(self.in_memory, self.ctx).next_tick_at

    def ask(self, control: Control) -> None:
        apply_control(self.engine, self.in_memory, control, self.ctx)

    def trip(self) -> None:
        self.in_memory = Flow.from_flow_dict(json.loads(json.dumps(self.in_memory.to_flow_dict())))


class Stored(Hands):
    """Stored in SQLite.

    Args:
        spec: of the flow.
        partial_from: tasks from which on the flow is loaded in parts.
    """

    def __init__(self, spec: dict[str, Any], partial_from: int) -> None:
        self.partial_from = partial_from
        super().__init__(spec)

    def start(self, spec: dict[str, Any]) -> None:
        self.store = FlowStore("sqlite://", clock=self.clock, partial_from=self.partial_from)
        self.runner = FlowRunner(self.store, self.engine, task_ctx=self.ctx)
        self.store.create(self.engine.flow_spec_to_flow(spec))
        self.seen = check_store(self.store, Seen(people_act=True))

    def flow(self) -> Flow:
        return self.store.load("f")

    def tick(self) -> datetime | None:
        report = self.runner.tick()
        assert not report.errors
        return self.store.next_due_at()

    def ask(self, control: Control) -> None:
        report = self.runner.control("f", control)
        assert report.done

    def trip(self) -> None:
        self.store.save(self.store.load("f"))

    def check(self) -> None:
        super().check()
        check_store(self.store, self.seen)


def act_at_random(hands: Hands, moves: Moves) -> None:
    for move, numbers in moves:
        hands.do(move, numbers)
    hands.run_to_its_end()
    for _ in range(3):
        if hands.flow().status == "COMPLETED":
            return
        assert hands.try_to_ask("retry")
        hands.check()
        hands.run_to_its_end()


@given(specs(), MOVES)
def test_in_memory(spec: dict[str, Any], moves: Moves) -> None:
    act_at_random(InMemory(spec), moves)


@settings(max_examples=40)
@given(specs(), MOVES, st.sampled_from([1, 500]))
def test_in_a_store(spec: dict[str, Any], moves: Moves, partial_from: int) -> None:
    with closing_store(Stored(spec, partial_from)) as hands:
        act_at_random(hands, moves)


@contextmanager
def closing_store(hands: Stored) -> Iterator[Stored]:
    try:
        yield hands
    finally:
        hands.store.close()
