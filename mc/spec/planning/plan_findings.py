"""Findings against a spec that is valid: what never runs, is always so, or is never written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mc.context.interpolation import find_references
from mc.json_data import JsonData
from mc.spec.planning.possible_statuses import TaskOutlook
from mc.spec.planning.static_conditions import (
    Verdict,
    decide_comparison,
    decide_condition,
    list_decided_parts,
)
from mc.spec.planning.unwritten_references import explain_unwritten, list_readings
from mc.spec.spec_level import Level, PlacedTask
from mc.spec.task_outputs import params_of, task_type_of

__all__ = ["FindingKind", "PlanFinding", "find_in_level"]


class FindingKind(StrEnum):
    """What kind of finding it is."""

    NEVER_STARTS = "never-starts"  # the start rule of a task can not hold
    ALWAYS_SKIPPED = "always-skipped"  # the `when` of a task is never true
    ALWAYS_TRUE = "always-true"  # a condition, or a part of one, holds whatever happens
    ALWAYS_FALSE = "always-false"  # it never holds
    ALWAYS_FAILS = "always-fails"  # it cannot be evaluated, and fails its task
    NEVER_CHOSEN = "never-chosen"  # a case of a `switch` that no control value reaches
    NOBODY_WRITES = "nobody-writes"  # a reference to data that nothing in the spec writes


_VERDICT_KINDS: Mapping[Verdict, tuple[FindingKind, str]] = {
    Verdict.TRUE: (FindingKind.ALWAYS_TRUE, "is always true"),
    Verdict.FALSE: (FindingKind.ALWAYS_FALSE, "is always false"),
    Verdict.FAILS: (FindingKind.ALWAYS_FAILS, "can never be evaluated"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFinding(JsonData):
    """One thing that is probably not meant.

    Attributes:
        kind: what kind of thing.
        pointer: JSON Pointer to the place.
        task: path of the task, `outer/inner`; None: the flow's `results`.
        message: one sentence for a person.
        given: data of the spec, as paths, on which the finding rests: other data, or code that writes
            them, may change it.
    """

    kind: FindingKind
    pointer: str
    task: str | None
    message: str
    given: tuple[str, ...] = ()


def find_in_level(level: Level, outlooks: Mapping[str, TaskOutlook]) -> Iterator[PlanFinding]:
    """Yield what there is to say of one flow of a spec, its sub-flows left out."""
    for task in level.tasks:
        outlook = outlooks[task.key] if not task.is_proxied else None
        if outlook is not None and not outlook.can_start:
            message = f"{task.shown} never starts: {outlook.reason}."
            yield _make(FindingKind.NEVER_STARTS, task.pointer, task, message)
        yield from _in_when(level, task)
        yield from _in_params(level, task)
    for reading in list_readings(level):
        reason = explain_unwritten(level, reading)
        if reason is not None:
            reader = f"{reading.task.shown} reads" if reading.task else "the results read"
            message = f"{reader} {reading.path}, but {reason}"
            yield _make(FindingKind.NOBODY_WRITES, reading.pointer, reading.task, message)


def _make(
    kind: FindingKind, pointer: str, task: PlacedTask | None, message: str, value: Any = None
) -> PlanFinding:
    shown = message[:1].upper() + message[1:] if task is None else message
    given = tuple(dict.fromkeys(path for _, path in find_references(value)))
    return PlanFinding(
        kind=kind, pointer=pointer, task=task.shown if task else None, message=shown, given=given
    )


def _in_when(level: Level, task: PlacedTask) -> Iterator[PlanFinding]:
    condition = (task.spec.get("cfg") or {}).get("when")
    if condition is None:
        return
    pointer = f"{task.pointer}/cfg/when"
    if decide_condition(condition, level.find_constant) is Verdict.FALSE:
        message = f"{task.shown} is always skipped: its condition (when) is never true."
        yield _make(FindingKind.ALWAYS_SKIPPED, pointer, task, message, condition)
        return
    yield from _decided(level, task, condition, pointer, "the condition (when)")


def _decided(
    level: Level, task: PlacedTask, condition: Mapping[str, Any], pointer: str, what: str, then: str = ""
) -> Iterator[PlanFinding]:
    for place, part, verdict in list_decided_parts(condition, pointer, level.find_constant):
        kind, says = _VERDICT_KINDS[verdict]
        is_whole = place == pointer
        subject = what if is_whole else f"a part of {what}"
        message = f"{subject} of {task.shown} {says}{then if is_whole else ''}."
        yield _make(kind, place, task, message[:1].upper() + message[1:], part)


def _in_params(level: Level, task: PlacedTask) -> Iterator[PlanFinding]:
    params, place = params_of(task.spec), f"{task.pointer}/task_params"
    if task_type_of(task.spec) == "loop":
        for name in ("while", "until"):
            if isinstance(params.get(name), Mapping):
                yield from _decided(level, task, params[name], f"{place}/{name}", f"the condition ({name})")
    elif task_type_of(task.spec) == "switch":
        yield from _in_cases(level, task, params, place)


def _in_cases(level: Level, task: PlacedTask, params: Mapping[str, Any], place: str) -> Iterator[PlanFinding]:
    control_value = params.get("control_value")
    chosen: int | None = None
    for at, case in enumerate(params.get("cases") or ()):
        condition, pointer = case["condition"], f"{place}/cases/{at}"
        verdict = decide_comparison(condition["op"], control_value, condition.get("arg"), level.find_constant)
        values = [control_value, condition.get("arg")]
        if chosen is not None:
            message = f"case {at} of {task.shown} is never chosen: case {chosen} before it always holds."
            yield _make(FindingKind.NEVER_CHOSEN, pointer, task, message, control_value)
        elif verdict is Verdict.FALSE:
            message = f"case {at} of {task.shown} is never chosen: its condition is always false."
            yield _make(FindingKind.NEVER_CHOSEN, pointer, task, message, values)
        elif verdict is Verdict.FAILS:
            message = f"case {at} of {task.shown} cannot be evaluated: the values cannot be compared so."
            yield _make(FindingKind.ALWAYS_FAILS, pointer, task, message, values)
        elif verdict is Verdict.TRUE:
            chosen = at
    if chosen is not None and params.get("default_case"):
        message = f"the default case of {task.shown} is never chosen: case {chosen} always holds."
        yield _make(FindingKind.NEVER_CHOSEN, f"{place}/default_case", task, message, control_value)
