"""Start rules: a task's `cfg.start_when`, decided as its precursors finish.

A rule is asked once per finished precursor, with the number of precursors that are still
unfinished, so that a join over n tasks costs n steps and not n squared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "DEFAULT_RULE",
    "NEVER",
    "START",
    "UNDECIDED",
    "StartRule",
    "counted_status",
    "failure_behind",
    "start_rule_for",
]

START: Final = "start"
NEVER: Final = "never"
UNDECIDED: Final = "undecided"

DEFAULT_RULE: Final = "all_completed"

# (counted status of the precursor that has just finished, how many are unfinished, status of each task)
# -> decision
_Decide = Callable[[str, int, Callable[[str], str]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRule:
    """A start rule other than the default.

    Attributes:
        decide: asked once for each precursor that has finished.
        misses: tells of a precursor that failed (key and status) whether the rule can no longer hold for it.
    """

    decide: _Decide
    misses: Callable[[str, str], bool]


def failure_behind(key: str, status: str, task: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the task that failed or was cancelled because of which a finished task is not COMPLETED.

    It is the task itself or, where it was skipped because of a failure, the one that it was skipped for.

    Returns:
        Its key and status; None for a task that is COMPLETED or was skipped by choice.
    """
    if status in _FAILURES:
        return {"task": key, "status": status}
    cause = task.get("skipped_for") if status == "SKIPPED" else None
    return cause if isinstance(cause, dict) and cause.get("status") in _FAILURES else None


def counted_status(status: str, task: Mapping[str, Any]) -> str:
    """Return the status as which a finished task counts for rules that do not name it.

    A task that was SKIPPED because of a failure counts as what it was skipped for: FAILED or CANCELLED.
    """
    if status != "SKIPPED" or "skipped_for" not in task:
        return status
    cause = failure_behind("", status, task)
    return cause["status"] if cause else status


def _all_completed(status: str, unfinished: int, _status_of: Callable[[str], str]) -> str:
    if status != "COMPLETED":
        return NEVER
    return UNDECIDED if unfinished else START


def _all_finished(_status: str, unfinished: int, _status_of: Callable[[str], str]) -> str:
    return UNDECIDED if unfinished else START


def _any_completed(status: str, unfinished: int, _status_of: Callable[[str], str]) -> str:
    if status == "COMPLETED":
        return START
    return UNDECIDED if unfinished else NEVER


def _any_failed(status: str, unfinished: int, _status_of: Callable[[str], str]) -> str:
    if status == "FAILED":
        return START
    return UNDECIDED if unfinished else NEVER


def _none_failed(status: str, unfinished: int, _status_of: Callable[[str], str]) -> str:
    if status in ("FAILED", "CANCELLED"):
        return NEVER
    return UNDECIDED if unfinished else START


def _named_rule(decide: _Decide, *, misses_failures: bool = True) -> StartRule:
    return StartRule(decide=decide, misses=lambda _key, _status: misses_failures)


_NAMED_RULES: Final[Mapping[str, StartRule]] = {
    "all_completed": _named_rule(_all_completed),
    "all_finished": _named_rule(_all_finished),
    "any_completed": _named_rule(_any_completed),
    "any_failed": _named_rule(_any_failed, misses_failures=False),  # without one it is not needed
    "none_failed": _named_rule(_none_failed),
}

_FINISHED: Final = frozenset({"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"})
_FAILURES: Final = ("FAILED", "CANCELLED")


def start_rule_for(cfg: Mapping[str, Any] | None) -> StartRule | None:
    """Return the rule of a task's cfg, or None for the default, `all_completed`.

    Raises:
        ValueError: the rule is not one of the format.
    """
    name = (cfg or {}).get("start_when", DEFAULT_RULE)
    if name == DEFAULT_RULE:
        return None
    if isinstance(name, str):
        if name not in _NAMED_RULES:
            raise ValueError(f"{name!r} is not a start rule; use one of {', '.join(_NAMED_RULES)}")
        return _NAMED_RULES[name]
    return _custom_rule(name)


def _custom_rule(rule: Mapping[str, Any]) -> StartRule:
    group = "all" if "all" in rule else "any"
    wanted: list[tuple[str, frozenset[str]]] = []
    for condition in rule[group]:
        statuses = condition["status"]
        wanted.append((condition["task"], frozenset([statuses] if isinstance(statuses, str) else statuses)))

    def decide(_status: str, _unfinished: int, status_of: Callable[[str], str]) -> str:
        verdicts = [_verdict(status_of(key), statuses) for key, statuses in wanted]
        if group == "all":
            if False in verdicts:
                return NEVER
            return UNDECIDED if None in verdicts else START
        if True in verdicts:
            return START
        return UNDECIDED if None in verdicts else NEVER

    def misses(key: str, status: str) -> bool:
        return any(named == key and status not in statuses for named, statuses in wanted)

    return StartRule(decide=decide, misses=misses)


def _verdict(status: str, wanted: frozenset[str]) -> bool | None:
    if status in _FINISHED:
        return status in wanted
    return None
