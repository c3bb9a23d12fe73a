"""When a task may start: its `cfg.start_when`, decided as its precursors finish.

A rule is asked once per finished precursor, with the number of precursors that are still
unfinished, so that a join over n tasks costs n steps and not n squared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["DEFAULT_RULE", "NEVER", "START", "UNDECIDED", "StartRule", "start_rule_for"]

START: Final = "start"
NEVER: Final = "never"
UNDECIDED: Final = "undecided"

DEFAULT_RULE: Final = "all_completed"

# (status of the precursor that has just finished, how many are unfinished) -> decision
StartRule = Callable[[str, int, Callable[[str], str]], str]


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


_NAMED_RULES: Final[Mapping[str, StartRule]] = {
    "all_completed": _all_completed,
    "all_finished": _all_finished,
    "any_completed": _any_completed,
    "any_failed": _any_failed,
    "none_failed": _none_failed,
}

_FINISHED: Final = frozenset({"COMPLETED", "FAILED", "SKIPPED", "CANCELLED"})


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

    return decide


def _verdict(status: str, wanted: frozenset[str]) -> bool | None:
    if status in _FINISHED:
        return status in wanted
    return None
