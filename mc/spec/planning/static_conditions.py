"""Conditions that the spec decides already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from mc.context.conditions import apply_operator
from mc.errors import ConditionError

__all__ = ["Verdict", "decide_comparison", "decide_condition", "list_decided_parts"]

# Returns whether a value is the same at each run, and if so, that value.
FindConstant = Callable[[Any], tuple[bool, Any]]


class Verdict(StrEnum):
    """What is known of a condition before anything runs."""

    TRUE = "true"  # it always holds
    FALSE = "false"  # it never holds
    FAILS = "fails"  # it can never be evaluated, and fails its task
    OPEN = "open"  # it depends on what happens


def decide_condition(condition: Mapping[str, Any], find_constant: FindConstant) -> Verdict:
    """Return what is known of a sound condition."""
    if "op" in condition:
        return decide_comparison(condition["op"], condition.get("value"), condition.get("arg"), find_constant)
    if "not" in condition:
        inner = decide_condition(condition["not"], find_constant)
        return {Verdict.TRUE: Verdict.FALSE, Verdict.FALSE: Verdict.TRUE}.get(inner, inner)
    word = "all" if "all" in condition else "any"
    decides = Verdict.FALSE if word == "all" else Verdict.TRUE
    is_open = False
    for part in condition[word]:
        verdict = decide_condition(part, find_constant)
        if verdict is decides:
            return decides  # an open part before it may fail, but does not turn the outcome round
        if verdict is Verdict.FAILS:
            return Verdict.OPEN if is_open else verdict
        is_open = is_open or verdict is Verdict.OPEN
    if is_open:
        return Verdict.OPEN
    return Verdict.TRUE if word == "all" else Verdict.FALSE


def decide_comparison(op: str, value: Any, arg: Any, find_constant: FindConstant) -> Verdict:
    """Return what is known of one comparison."""
    value_is_known, value = find_constant(value)
    arg_is_known, arg = find_constant(arg)
    if not (value_is_known and arg_is_known):
        return Verdict.OPEN
    try:
        return Verdict.TRUE if apply_operator(op, value, arg) else Verdict.FALSE
    except ConditionError:
        return Verdict.FAILS


def list_decided_parts(
    condition: Mapping[str, Any], pointer: str, find_constant: FindConstant
) -> Iterator[tuple[str, Mapping[str, Any], Verdict]]:
    """Yield (pointer, condition, verdict) of what is decided: the whole, or else parts of it."""
    waiting = [(condition, pointer)]
    while waiting:
        one, place = waiting.pop()
        verdict = decide_condition(one, find_constant)
        if verdict is not Verdict.OPEN:
            yield place, one, verdict
            continue
        if "not" in one:
            waiting.append((one["not"], f"{place}/not"))
        for word in ("any", "all"):
            parts = enumerate(one.get(word) or ())
            waiting += reversed([(part, f"{place}/{word}/{at}") for at, part in parts])
