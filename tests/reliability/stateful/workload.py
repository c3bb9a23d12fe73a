"""The flows that the machine stores: few kinds, of each of which it is known what every tick does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mc.clock import Clock
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["HANDLERS", "KINDS", "Kind", "make_engine"]


class Act(BaseTaskHandler):
    """Fails as often as its parameter `fails` says, then completes."""

    has_effects: ClassVar[bool] = False

    def tick_task(self) -> None:
        if self.task["attempt"] <= self.params.get("fails", 0):
            raise ValueError(f"attempt {self.task['attempt']}")
        self.complete()


class Touch(Act):
    """The same with effects outside, so that it is saved right after its call."""

    has_effects: ClassVar[bool] = True


HANDLERS = {"act": Act, "touch": Touch}


def make_engine(clock: Clock) -> FlowEngine:
    """Return an engine that knows the handlers."""
    return FlowEngine(task_handlers=HANDLERS, clock=clock)


@dataclass(frozen=True, slots=True)
class Kind:
    """A spec, and what becomes of its flow.

    Attributes:
        spec: the flow spec.
        waits: seconds that each tick but the last leaves the flow waiting.
        end: status after the last tick.
        child: the kind of the sub-flow that its first tick starts and that it then waits for.
    """

    spec: dict[str, Any]
    waits: tuple[float, ...] = ()
    end: str = "COMPLETED"
    child: str | None = None

    @property
    def priority(self) -> int:
        return int(self.spec.get("cfg", {}).get("priority", 0))


def _chain(*tasks: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": f"t{place}", "precursors": [f"t{place - 1}"] if place else [], **task}
        for place, task in enumerate(tasks)
    ]


def _nap(duration: str) -> dict[str, Any]:
    return {"task_type": "wait", "task_params": {"duration": duration}}


_ACT, _TOUCH = {"task_type": "act"}, {"task_type": "touch"}
_FAILS_ONCE = {"task_params": {"fails": 1}, "cfg": {"retry": {"max_attempts": 2, "delay": 60, "jitter": 0}}}
_NAP_INSIDE = {"tasks": _chain(_nap("30s"))}
_FAIL_INSIDE = {"tasks": _chain({**_ACT, "task_params": {"fails": 9}})}


def _sub_flow(spec: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": _chain({"task_type": "flow", "task_params": {"flow_spec": spec}}, _ACT)}


KINDS = {
    "pure": Kind({"tasks": _chain(_ACT, _ACT)}),
    "effects": Kind({"tasks": _chain(_TOUCH, _TOUCH)}),
    "urgent": Kind({"cfg": {"priority": 1}, "tasks": _chain(_TOUCH, _ACT)}),
    "naps": Kind({"tasks": _chain(_TOUCH, _nap("60s"), _ACT)}, waits=(60,)),
    "naps twice": Kind({"tasks": _chain(_nap("30s"), _nap("1h"))}, waits=(30, 3600)),
    "fails": Kind({"tasks": _chain(_TOUCH, {**_TOUCH, "task_params": {"fails": 9}})}, end="FAILED"),
    "retries": Kind({"tasks": _chain({**_TOUCH, **_FAILS_ONCE})}, waits=(60,)),
    "parent": Kind(_sub_flow(_NAP_INSIDE), child="nap inside"),
    "parent of a failure": Kind(_sub_flow(_FAIL_INSIDE), child="fail inside"),
    "nap inside": Kind(_NAP_INSIDE, waits=(30,)),
    "fail inside": Kind(_FAIL_INSIDE, end="FAILED"),
}
