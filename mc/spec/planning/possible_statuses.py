"""Statuses in which each task of a flow may end, as far as its spec tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mc.spec.planning.static_conditions import Verdict, decide_condition
from mc.spec.spec_level import Level, PlacedTask
from mc.spec.task_graph import ROOT_TASK_KEY
from mc.spec.task_outputs import OUTPUTS, list_cases, task_type_of

__all__ = ["TaskOutlook", "find_outlooks"]

Statuses = frozenset[str]

_COMPLETED: Final = "COMPLETED"
_FAILED: Final = "FAILED"
_SKIPPED: Final = "SKIPPED"
_DONE: Final[Statuses] = frozenset({_COMPLETED})
_FAILURES: Final[Statuses] = frozenset({_FAILED, "CANCELLED"})
_ALL: Final[Statuses] = frozenset({_COMPLETED, _FAILED, _SKIPPED, "CANCELLED"})
_NEVER_FAIL: Final = frozenset({"noop"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutlook:
    """What may become of a task if nobody intervenes.

    Attributes:
        statuses: those that it may end with and that others may see; without FAILED where a failure ends
            the flow at once.
        counts_as: the same as start rules that do not name it see it: a task that is SKIPPED because of a
            failure as FAILED or CANCELLED.
        can_start: whether its start rule can hold.
        always_starts: whether it holds whatever happens.
        condition: what is known of its `cfg.when`.
        ends_flow: whether it may fail and the flow with it.
        reason: why it cannot start.
    """

    statuses: Statuses
    counts_as: Statuses
    can_start: bool = True
    always_starts: bool = True
    condition: Verdict = Verdict.TRUE
    ends_flow: bool = False
    reason: str | None = None

    @property
    def can_run(self) -> bool:
        """Whether an attempt of it can begin and get to its handler."""
        return self.can_start and self.condition not in (Verdict.FALSE, Verdict.FAILS)


def find_outlooks(level: Level, order: Sequence[str]) -> dict[str, TaskOutlook]:
    """Return the outlook of each task of a flow, ROOT included.

    Args:
        level: the flow.
        order: the keys of its tasks, each after its precursors.
    """
    before = level.precursors()
    outlooks = {ROOT_TASK_KEY: TaskOutlook(statuses=_DONE, counts_as=_DONE)}
    for key in order:
        outlooks[key] = _find_outlook(level, level.by_key[key], before[key], outlooks)
    return outlooks


def _find_outlook(
    level: Level, task: PlacedTask, precursors: list[str], outlooks: Mapping[str, TaskOutlook]
) -> TaskOutlook:
    cfg = task.spec.get("cfg") or {}
    rule = cfg.get("start_when") or "all_completed"
    before = {key: outlooks[key] for key in precursors}
    can_start, always_starts = _judge_rule(rule, before)
    never = frozenset() if always_starts else _ends_of_skipped(rule, before)
    if not can_start:
        return TaskOutlook(
            statuses=frozenset({_SKIPPED}),
            counts_as=never,
            can_start=False,
            always_starts=False,
            reason=_explain(rule, before),
        )
    verdict = Verdict.TRUE
    if cfg.get("when") is not None:
        verdict = decide_condition(cfg["when"], level.find_constant)
    found: set[str] = set()
    if verdict is Verdict.FALSE:
        found.add(_SKIPPED)
        if not level.find_constant(cfg["when"])[0]:
            found.add(_FAILED)  # an open part may fail before the part that decides is reached
    elif verdict is Verdict.FAILS:
        found.add(_FAILED)
    else:
        found |= _ends_of(task.spec)
        if verdict is Verdict.OPEN:
            found |= {_SKIPPED, _FAILED}
    ends_the_flow = (level.spec.get("cfg") or {}).get("fail_fast", True) and not cfg.get("allow_failure")
    ends_flow = bool(ends_the_flow and _FAILED in found)
    if ends_flow:
        found.discard(_FAILED)
    return TaskOutlook(
        statuses=frozenset(found if always_starts else {*found, _SKIPPED}),
        counts_as=never | found,
        always_starts=always_starts,
        condition=verdict,
        ends_flow=ends_flow,
    )


def _ends_of_skipped(rule: Any, before: Mapping[str, TaskOutlook]) -> Statuses:
    """Return as what a task may count that is SKIPPED because its start rule can no longer hold."""
    ends = frozenset(end for each in before.values() for end in each.counts_as)
    causes = frozenset() if rule == "any_failed" else ends & _FAILURES
    is_by_choice = rule not in ("all_completed", "any_completed", "none_failed") or (
        rule != "none_failed" and _SKIPPED in ends
    )
    return causes | {_SKIPPED} if is_by_choice else causes


def _ends_of(task: Mapping[str, Any]) -> set[str]:
    """Return how a task may end once it has started."""
    name = task_type_of(task)
    if name not in OUTPUTS:
        return set(_ALL)
    if name == "switch":
        ends = {_FAILED}
        for _, chosen in list_cases(task):
            ends |= _ends_of(chosen)
            ends |= {_SKIPPED} if (chosen.get("cfg") or {}).get("when") is not None else set()
        return ends
    if name in _NEVER_FAIL and (task.get("cfg") or {}).get("timeout") is None:
        return {_COMPLETED}
    return {_COMPLETED, _FAILED}


def _judge_rule(rule: Any, before: Mapping[str, TaskOutlook]) -> tuple[bool, bool]:
    """Return whether a start rule can hold, and whether it always does."""
    if isinstance(rule, Mapping):
        word = "all" if "all" in rule else "any"
        wanted = [(condition["task"], _as_set(condition["status"])) for condition in rule[word]]
        ends_of = {ROOT_TASK_KEY: _DONE, **{key: each.statuses for key, each in before.items()}}
        can = [bool(ends_of[key] & statuses) for key, statuses in wanted]
        must = [ends_of[key] <= statuses for key, statuses in wanted]
        return (all(can), all(must)) if word == "all" else (any(can), any(must))
    can_end, must_end = _NAMED_RULES[rule]
    ends = [each.counts_as for each in before.values()]
    return can_end(ends), must_end(ends)


def _as_set(statuses: Any) -> Statuses:
    return frozenset([statuses] if isinstance(statuses, str) else statuses)


_Test = Callable[[list[Statuses]], bool]
_NOT_FAILED: Final[Statuses] = frozenset({_COMPLETED, _SKIPPED})

# rule -> whether it can hold, whether it always holds
_NAMED_RULES: Final[Mapping[str, tuple[_Test, _Test]]] = {
    "all_completed": (
        lambda ends: all(_COMPLETED in each for each in ends),
        lambda ends: all(each <= {_COMPLETED} for each in ends),
    ),
    "all_finished": (lambda ends: True, lambda ends: True),
    "any_completed": (
        lambda ends: any(_COMPLETED in each for each in ends),
        lambda ends: any(each <= {_COMPLETED} for each in ends),
    ),
    "any_failed": (
        lambda ends: any(_FAILED in each for each in ends),
        lambda ends: any(each <= {_FAILED} for each in ends),
    ),
    "none_failed": (
        lambda ends: all(each & _NOT_FAILED for each in ends),
        lambda ends: all(each <= _NOT_FAILED for each in ends),
    ),
}


def _explain(rule: Any, before: Mapping[str, TaskOutlook]) -> str:
    """Say why a start rule cannot hold."""
    shown = f"its start rule {rule}" if isinstance(rule, str) else "its start rule"
    fatal = [key for key, each in before.items() if each.ends_flow]
    if rule == "any_failed" and fatal:
        return (
            f"{shown} waits for a failure of {', '.join(fatal[:5])}, which ends the flow at once; set "
            f"cfg.allow_failure there, or the flow's cfg.fail_fast to false"
        )
    blocked = [key for key, each in before.items() if not each.can_run and _COMPLETED not in each.statuses]
    if blocked:
        return f"{shown} cannot hold, because {', '.join(blocked[:5])} never runs"
    ends = [f"{key} {' or '.join(sorted(each.statuses)) or 'never'}" for key, each in before.items()]
    return f"{shown} cannot hold; how its precursors may end: {', '.join(ends[:5])}"
