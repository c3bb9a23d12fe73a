"""Seconds that tasks may take, as far as their spec declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mc.durations import parse_duration
from mc.errors import DurationError
from mc.spec.spec_level import PlacedTask
from mc.spec.task_outputs import list_cases, params_of, task_type_of

__all__ = ["declared_seconds"]

# pointer of the task that holds a sub-flow -> what its critical path takes
SubFlowSeconds = Mapping[str, float]


def declared_seconds(task: PlacedTask, of_sub_flows: SubFlowSeconds) -> float:
    """Return the longest time that one attempt of a task declares, in seconds; 0 where it declares none.

    That is a wait's duration, the timeout of a wait for a signal or of an approval, what the sub-flow
    inside takes (of a loop, as often as `max_iterations`), but no more than `cfg.timeout`, which stands for
    the time of tasks that declare no other.
    """
    return _seconds_of(task.spec, task.pointer, of_sub_flows)


def _seconds_of(task: Mapping[str, Any], pointer: str, of_sub_flows: SubFlowSeconds) -> float:
    measure = _MEASURES.get(task_type_of(task))
    own = measure(params_of(task), of_sub_flows.get(pointer, 0.0)) if measure else None
    if task_type_of(task) == "switch":
        cases = list_cases(task)
        own = max((_seconds_of(one, f"{pointer}/{at}", of_sub_flows) for at, one in cases), default=0.0)
        own = own or None
    limit = _parse((task.get("cfg") or {}).get("timeout"))
    if own is None:
        return limit or 0.0
    return own if limit is None else min(own, limit)


def _parse(value: Any) -> float | None:
    """Return a duration that is written out; None for a reference."""
    try:
        return None if value is None else parse_duration(value)
    except DurationError:
        return None


def _loop_seconds(params: Mapping[str, Any], round_seconds: float) -> float | None:
    rounds = params.get("max_iterations")
    if not isinstance(rounds, int | float):
        return None
    return (rounds * round_seconds + (rounds - 1) * (_parse(params.get("delay")) or 0.0)) or None


_MEASURES: Mapping[str, Callable[[Mapping[str, Any], float], float | None]] = {
    "wait": lambda params, _: _parse(params.get("duration")),
    "wait_for_signal": lambda params, _: _parse(params.get("timeout")),
    "approval": lambda params, _: _parse(params.get("timeout")),
    "flow": lambda _, seconds: seconds or None,
    "inline_flow": lambda _, seconds: seconds or None,
    "spread": lambda _, seconds: seconds or None,
    "loop": _loop_seconds,
}
