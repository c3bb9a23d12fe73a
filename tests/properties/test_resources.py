"""Whatever flows need of resources, and people do meanwhile, the limits are kept and all flows end."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.errors import ControlError, FlowFormatError
from mc.flows.flow_engine import FlowEngine
from mc.flows.resource import Rate, Resource, make_resource
from mc.flows.resources.rules import Situation, judge
from mc.houston import Houston
from tests.support.invariants import Seen, check_store

NAMES = ("db", "api", "disk")
START = datetime(2026, 1, 1, tzinfo=UTC)

needs = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3), min_size=1, max_size=3)
tasks = st.lists(
    st.tuples(
        st.sampled_from(["noop", "wait", "inside", "chosen", "signal", "below", "gone"]),
        needs,
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=4,
)
actions = st.one_of(
    st.tuples(st.just("submit"), tasks, st.integers(0, 1)),
    st.tuples(st.just("tick"), st.integers(1, 3)),
    st.tuples(st.just("advance"), st.sampled_from([1, 30, 61])),
    st.tuples(st.just("set"), st.sampled_from(NAMES), st.integers(1, 4)),
    st.tuples(st.sampled_from(["pause", "resume", "cancel", "copy"]), st.integers(0, 5)),
    st.tuples(st.sampled_from(["forget", "learn"])),
)
GONE = "test_gone"  # a task type whose handler is missing at times


def make_task(number: int, kind: str, wanted: dict[str, int], priority: int) -> dict[str, Any]:
    key, cfg = f"t{number}", {"resources": wanted, "priority": priority}
    limited: dict[str, Any] = {"task_type": "noop", "cfg": cfg}
    if kind == "wait":
        limited = {"task_type": "wait", "task_params": {"duration": 20}, "cfg": cfg}
    elif kind == "signal":
        params: dict[str, Any] = {"signal": "go", "timeout": 40, "default": {}}
        limited = {"task_type": "wait_for_signal", "task_params": params, "cfg": cfg}
    elif kind == "below":
        params = {"flow_spec": {"tasks": [{"task_type": "wait", "task_params": {"duration": 25}}]}}
        limited = {"task_type": "flow", "task_params": params, "cfg": cfg}
    elif kind == "gone":
        limited["task_type"] = GONE
    if kind == "inside":
        params = {"flow_spec": {"tasks": [limited, limited]}}
        limited = {"task_type": "inline_flow", "task_params": params}
    elif kind == "chosen":
        params = {"control_value": 1, "cases": [], "default_case": {"task": limited}}
        limited = {"task_type": "switch", "task_params": params}
    return {**limited, "key": key, "precursors": []}


def after_a_pause(kind: str) -> list[tuple[Any, ...]]:
    return [("submit", [(kind, {"db": 2}, 0)], 0), ("tick", 3), ("pause", 0), ("resume", 0), ("tick", 3)]


@settings(max_examples=40)
@given(st.lists(actions, max_size=25))
@example(after_a_pause("wait"))
@example(after_a_pause("signal"))
@example(after_a_pause("below"))
@example([("submit", [("noop", {"db": 1}, 0)], 0), ("pause", 0), ("copy", 0)])
def test_limits_are_kept_and_all_flows_end(steps: list[tuple[Any, ...]]) -> None:
    clock = ManualClock()
    keys: list[str] = []
    with Houston("sqlite://", clock=clock, task_handlers={GONE: lambda: None}) as houston:
        known = dict(houston.engine.known_handlers)
        for name in NAMES:
            houston.resources.set(name, slots=2, rate="4/min" if name == "api" else None)
        seen = Seen(people_act=True)
        for step in steps:
            if step[0] in ("forget", "learn", "submit"):  # what is not known cannot be submitted
                houston.engine.known_handlers.update(known)
            if step[0] == "forget":
                del houston.engine.known_handlers[GONE]
            elif step[0] != "learn":
                act(houston, clock, keys, step)
            check_store(houston.store, seen, replay=False)
        for name in NAMES:
            houston.resources.set(name, slots=3, rate="4/min" if name == "api" else None)
        houston.engine.known_handlers.update(known)
        for key in keys:
            if houston.summary(key).status == "PAUSED":
                houston.resume(key, by="ada")
        for _ in range(400):
            due_at = houston.tick().next_tick_at
            check_store(houston.store, seen, replay=False)
            if due_at is None:
                break
            clock.advance(max((due_at - clock.now()).total_seconds(), 0))
        assert {houston.summary(key).status for key in keys} <= {"COMPLETED", "CANCELLED"}
        assert all(status.held == status.waiting == 0 for status in houston.resources.list())


def act(houston: Houston, clock: ManualClock, keys: list[str], step: tuple[Any, ...]) -> None:
    if step[0] == "submit":
        made = [make_task(number, *each) for number, each in enumerate(step[1])]
        key = f"f{len(keys)}"
        keys.append(houston.submit({"cfg": {"priority": step[2]}, "tasks": made}, key=key))
    elif step[0] == "tick":
        houston.tick(max_flows=step[1])
    elif step[0] == "advance":
        clock.advance(step[1])
    elif step[0] == "set":
        houston.resources.set(step[1], slots=step[2], rate="4/min" if step[1] == "api" else None)
    elif keys and step[0] == "copy":
        with suppress(FlowFormatError):  # it waits for a stored sub-flow
            flow_dict = houston.export(keys[step[1] % len(keys)])
            keys.append(houston.import_(flow_dict, key=f"f{len(keys)}"))
    elif keys:
        with suppress(ControlError):
            getattr(houston, step[0])(keys[step[1] % len(keys)], by="ada")


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 4)), max_size=30),
)
def test_no_span_of_time_has_more_than_the_rate(count: int, asked: list[tuple[int, int]]) -> None:
    """Each asks again when it was told to, and gets it then: not sooner, and not later than it could."""
    resource = Resource(name="api", rate=Rate(count=count, seconds=60))
    now, taken = START, []
    for pause, amount in asked:
        now += timedelta(seconds=pause)
        verdict = judge(resource, amount, Situation(taken=taken), now, begun=False)
        assert verdict.is_hopeless == (amount > count)
        if verdict.is_hopeless:
            continue
        if verdict.at is not None:
            sooner = verdict.at - timedelta(microseconds=1)
            assert not judge(resource, amount, Situation(taken=taken), sooner, begun=False).fits
            now = verdict.at
            assert judge(resource, amount, Situation(taken=taken), now, begun=False).fits
        taken.append((now, amount))
    for begin, _ in taken:
        within = [amount for at, amount in taken if begin <= at < begin + timedelta(seconds=60)]
        assert sum(within) <= count


@settings(max_examples=50)
@given(st.lists(tasks, min_size=1, max_size=4))
def test_in_memory_the_same_flows_end(flows: list[Any]) -> None:
    clock = ManualClock()
    limits = (("db", 3, None), ("api", None, "4/min"), ("disk", 3, "9/s"))
    engine = FlowEngine(
        clock=clock,
        resources=[make_resource(*each) for each in limits],
        task_handlers={GONE: lambda: None},
    )
    for made in flows:
        spec = {"tasks": [make_task(number, *each) for number, each in enumerate(made)]}
        flow = engine.run_flow(engine.flow_spec_to_flow(spec))
        assert flow.status == "COMPLETED"
        flow.check_invariants()
