"""Specs of all that a flow can wait for, random control, and somebody who does what explanations advise."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from mc.clock import ManualClock
from mc.errors import ControlError
from mc.explanation.explanation import Explanation, Reason, ReasonKind
from mc.explanation.flow_reasons import explain_flow
from mc.flows.controls.control import make_control
from mc.flows.flow_engine import FlowEngine
from mc.runners.flow_runner import FlowRunner
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_facts import read_facts
from mc.store.flow_store import FlowStore
from tests.support.random_specs import Act, graphs

__all__ = ["MOVES", "Person", "waiting_specs"]

_NAMES = ("a", "b")
_LEAVES: list[dict[str, Any]] = [
    {"task_type": "noop"},
    {"task_type": "act", "task_params": {"polls": 1}},
    {"task_type": "act", "task_params": {"waits": [5, 700]}},
    {"task_type": "act", "task_params": {"fails": 1}, "cfg": {"retry": {"max_attempts": 2, "delay": "1h"}}},
    {"task_type": "act", "task_params": {"fails": 1}, "cfg": {"allow_failure": True}},
    {"task_type": "wait", "task_params": {"duration": "30m"}},
    {"task_type": "wait_for_signal", "task_params": {"signal": "a"}},
    {"task_type": "wait_for_signal", "task_params": {"signal": "c"}},
    {"task_type": "wait_for_signal", "task_params": {"signal": "b", "timeout": "2h", "default": 1}},
    {"task_type": "approval", "task_params": {"approvers": ["ada"], "on_reject": "complete"}},
    {"task_type": "own"},
    {"task_type": "own", "cfg": {"timeout": "1h"}},
]


@st.composite
def waiting_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Flows whose tasks wait for all that there is, also inside other tasks; each can come to its end."""
    leaf = st.sampled_from(_LEAVES)
    tasks = []
    for place in draw(graphs(max_tasks=5)):
        task = {**draw(leaf), "key": place["key"], "precursors": place["precursors"]}
        if draw(st.integers(0, 2)) == 0:
            task = {**_wrap(draw(st.sampled_from(list(_WRAPPERS))), draw(leaf)), **_place(task)}
        tasks.append(task)
    cfg: dict[str, Any] = {"max_running_tasks": 1} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        cfg["fail_fast"] = False
    return {"tasks": tasks, "cfg": cfg}


def _place(task: dict[str, Any]) -> dict[str, Any]:
    return {"key": task["key"], "precursors": task["precursors"]}


_WRAPPERS = ("inline_flow", "flow", "switch", "spread", "loop")


def _wrap(task_type: str, task: dict[str, Any]) -> dict[str, Any]:
    flow_spec = {"tasks": [{"key": "x", **task}]}
    params: dict[str, dict[str, Any]] = {
        "inline_flow": {"flow_spec": flow_spec},
        "flow": {"flow_spec": flow_spec},
        "switch": {"control_value": 1, "default_case": {"task": task}},
        "spread": {"items": [1, 2], "mapping_params": {"skeleton": task}},
        "loop": {"flow_spec": flow_spec, "max_iterations": 2},
    }
    return {"task_type": task_type, "task_params": params[task_type]}


_TICKS = ("tick", "tick", "tick without handlers", "tick without handlers")
_RUNNERS = ("claim", "claim", "vanish", "block")
_PERSONS = ("signal", "pause", "resume", "cancel", "retry", "ask to pause", "ask to cancel", "ask to retry")
MOVES = st.lists(st.sampled_from([*_TICKS, *_RUNNERS, *_PERSONS, "nap", "long nap"]), max_size=10)


_UNTIL = (ReasonKind.TIME, ReasonKind.MISSING_HANDLER, ReasonKind.ASKED, ReasonKind.CANCELLING)


class Person:
    """Meddles with the flows of a store, asks why they do not move, and does what the answer advises."""

    def __init__(self, store: FlowStore, clock: ManualClock, key: str) -> None:
        self.store = store
        self.clock = clock
        self.key = key
        self._engine = FlowEngine(task_handlers={"act": Act, "own": lambda: None}, clock=clock)
        self._knowing = FlowRunner(store, self._engine)
        self._unknowing = FlowRunner(store, FlowEngine(task_handlers={"act": Act}, clock=clock))
        self._leases: list[Any] = []

    def move(self, what: str) -> None:
        """Do something at random."""
        if what == "tick":
            self._knowing.tick()
        elif what == "tick without handlers":
            self._unknowing.tick()
        elif what.endswith("nap"):
            self.clock.advance(60 if what == "nap" else 5_000)
        elif what == "signal":
            if self.status not in FINISHED_FLOW_STATUSES:
                self.store.messages.signal(self.key, "a")
        elif what == "vanish":
            self.store.claim(owner="vanishes", lease_seconds=0)
        elif what == "claim":
            self._leases += self.store.claim(owner="works", lease_seconds=3600)
        elif what == "block":
            for lease in self.store.claim(owner="breaks"):
                self.store.block(lease, "It broke.")
        else:
            self._ask(self.key, what)

    def _ask(self, key: str, what: str) -> None:
        """Ask something of the flow, and do it unless a runner is to."""
        kind = what.removeprefix("ask to ")
        control = make_control(kind, by="ada", reason="she wants it")
        try:
            if kind == what:
                self._knowing.control(key, control)
            else:
                self.store.messages.control(key, control)
        except ControlError:
            return  # its status does not allow it

    @property
    def status(self) -> str:
        """The status of the flow."""
        return self.store.summary(self.key).status

    def explain(self, key: str) -> Explanation:
        """Return the explanation of a flow, after a look whether it is an answer."""
        explanation = explain_flow(read_facts(self.store, key))
        summary = self.store.summary(key)
        assert (explanation.status, explanation.at) == (summary.status, self.clock.now())
        self.check(explanation, summary.next_tick_at)
        return explanation

    def check(self, explanation: Explanation, next_tick_at: datetime | None) -> None:
        """Check that each reason says something, and that the first one tells the state of the rows."""
        assert explanation.reasons
        for reason in explanation.reasons:
            assert reason.text.strip()
            assert reason.moves.strip()
            assert all(words.startswith("houston ") for words in reason.commands)
        first = explanation.reasons[0].kind
        if first in (ReasonKind.DUE, ReasonKind.LATE):
            assert next_tick_at is not None
            assert next_tick_at <= self.clock.now()
        if first is ReasonKind.EVENT:
            assert next_tick_at is None
            assert any(_names_an_event(reason) for reason in explanation.reasons[1:])

    def follow(self, key: str, at_most: int = 60) -> str:
        """Do what the explanations advise until the flow is finished, and return its status."""
        for lease in self._leases:
            self.store.release(lease)
        self._leases = []
        for _ in range(at_most):
            explanation = self.explain(key)
            if explanation.reasons[0].kind is ReasonKind.FINISHED:
                return explanation.status
            self._obey(explanation)
        raise AssertionError(f"the advice does not move the flow: {self.explain(key).to_dict()}")

    def _obey(self, explanation: Explanation) -> None:
        key, first = explanation.flow_key, explanation.reasons[0]
        if first.kind in (ReasonKind.PAUSED, ReasonKind.BLOCKED):
            self._ask(key, "resume")
            return
        if first.kind in _UNTIL and first.until is not None:
            self.clock.advance(max((first.until - self.clock.now()).total_seconds(), 0))
        elif first.kind is ReasonKind.EVENT:
            for reason in explanation.reasons[1:]:
                self._cause(key, reason)
        self._knowing.tick()

    def _cause(self, key: str, reason: Reason) -> None:
        """Let happen what a task waits for."""
        words = reason.commands[0].split() if reason.commands else []
        if reason.kind is ReasonKind.SIGNAL:
            self.store.messages.signal(key, words[3])
        elif reason.kind is ReasonKind.APPROVAL:
            self.store.messages.decide(key, words[3], approved=True, by="ada")
        elif reason.sub_flow is not None and not reason.sub_flow.is_finished:
            self._obey(reason.sub_flow)


def _names_an_event(reason: Reason) -> bool:
    return reason.kind in (ReasonKind.SIGNAL, ReasonKind.APPROVAL, ReasonKind.SUB_FLOW)
