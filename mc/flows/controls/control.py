"""Controls: what a person asks of a flow, as values that a store can keep, and what forbids them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from mc.context.json_values import dumps, loads, to_json_value
from mc.errors import ControlError
from mc.flows.calls.task_paths import find_outer_key, refuse_unknown_task
from mc.statuses import FINISHED_FLOW_STATUSES

__all__ = ["Control", "ControlKind", "check_control", "check_who", "make_control"]


class ControlKind(StrEnum):
    """What can be asked of a flow."""

    CANCEL = "cancel"  # end it, with what runs in it
    PAUSE = "pause"  # do not tick it until it is resumed
    RESUME = "resume"  # go on with what was paused or blocked
    RETRY = "retry"  # try again what failed or was cancelled
    SKIP = "skip"  # do without tasks
    SET = "set"  # write data or params


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Something that a person asks of a flow.

    Attributes:
        kind: what.
        by: who asks.
        reason: why, for people.
        at: when it was asked, ISO 8601.
        tasks: keys of the tasks that it is about, or paths (`outer/inner`); empty: the flow.
        data: entries to lay over the data of the task, or of the flow; only to set.
        params: entries to lay over the task's `task_params`; only to set.
        extend: give back the time for which it was stopped; only to resume.
    """

    kind: ControlKind
    by: str
    reason: str | None = None
    at: str = ""
    tasks: tuple[str, ...] = ()
    data: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    extend: bool = False

    def __post_init__(self) -> None:
        check_who(self.by, self.kind)
        for name in ("data", "params"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, Mapping):
                    raise ControlError(
                        f"The {name} to set are {value!r:.100}; expected a mapping of entries to lay over "
                        f"what is there."
                    )
                object.__setattr__(self, name, to_json_value(dict(value), f"/{name}"))

    def describe(self) -> dict[str, Any]:
        """Return what the history tells of it."""
        told: dict[str, Any] = {"control": str(self.kind), "by": self.by, "reason": self.reason}
        if self.tasks:
            told["tasks"] = list(self.tasks)
        for name in ("data", "params"):
            if getattr(self, name) is not None:
                told[name] = getattr(self, name)
        if self.extend:
            told["extend"] = True
        return told

    def to_text(self) -> str:
        """Return it as JSON text, from which `from_text` makes the same."""
        return dumps({**self.describe(), "at": self.at})

    @classmethod
    def from_text(cls, text: str) -> Control:
        """Make a control from what `to_text` returned."""
        told = loads(text)
        kind, tasks = ControlKind(told.pop("control")), tuple(told.pop("tasks", ()))
        return cls(kind=kind, tasks=tasks, **told)


def check_who(by: Any, what: str) -> None:
    """Raise `ControlError` where nobody is named who asks for something."""
    if not isinstance(by, str) or not by.strip():
        raise ControlError(f"Who asks to {what}? `by` is {by!r:.100}; expected a name.")


def make_control(kind: str, *, tasks: Iterable[str] = (), **given: Any) -> Control:
    """Return a control; see there for the arguments.

    Raises:
        ControlError: the kind is none, or an argument cannot be.
    """
    if kind not in list(ControlKind):
        raise ControlError(f"{kind!r} cannot be asked of a flow; expected one of {', '.join(ControlKind)}.")
    if isinstance(tasks, str):
        tasks = (tasks,)
    return Control(kind=ControlKind(kind), tasks=tuple(dict.fromkeys(tasks)), **given)


def check_control(
    flow_key: str,
    control: Control,
    status: str,
    task_statuses: Mapping[str, str],
    counts: Mapping[str, int],
    known_keys: Callable[[], Iterable[str]],
) -> None:
    """Find out whether a flow is in a state in which it can be done.

    Args:
        flow_key: for the message.
        control: what is asked.
        status: of the flow.
        task_statuses: of those of `control.tasks` that the flow has, and of those that they are inside of.
        counts: how many tasks of the flow have each status.
        known_keys: returns keys of its tasks, of which the nearest to an unknown one are named.

    Raises:
        ControlError: it is not; the message says what would help.
    """
    own = tuple(key for key in control.tasks if key in task_statuses)
    around: dict[str, str] = {}  # tasks that those are inside of which are named by their paths
    for path in control.tasks:
        if path not in task_statuses:
            key = find_outer_key(path, task_statuses)
            if key is None:
                refuse_unknown_task(ControlError, flow_key, path, known_keys())
            around[key] = task_statuses[key]
    problem = None
    if own or not around:
        named = {key: task_statuses[key] for key in own}
        problem = _CHECKS[control.kind](control, status, named, counts)
    if problem is None and around:
        problem = _check_around(control, status, around, counts)
    if problem is not None:
        raise ControlError(f"Flow {flow_key!r} {problem}", key=flow_key, status=status)


def _check_around(
    control: Control, status: str, around: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    """Find out whether something can be done inside of tasks; what is there is looked at when it is done."""
    if control.kind is ControlKind.RETRY:
        ended = {key: each for key, each in around.items() if each not in ("RUNNING", "WAITING")}
        return _check_retry(control, status, ended, counts) if ended else None
    if control.kind is ControlKind.SET:
        if len(control.tasks) > 1:
            return "can have the data or params of one task set at a time."
        return _check_set(replace(control, params=None, data={}), status, around, counts)
    return _CHECKS[control.kind](control, status, around, counts)


def _check_cancel(
    control: Control, status: str, tasks: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    if status in FINISHED_FLOW_STATUSES:
        return f"is {status} already; there is nothing to cancel."
    return None


def _check_pause(
    control: Control, status: str, tasks: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    if status == "PAUSED":
        return "is PAUSED already; `houston resume` lets it go on."
    if status in FINISHED_FLOW_STATUSES:
        return f"is {status}; only an unfinished flow can be paused."
    return None


def _check_resume(
    control: Control, status: str, tasks: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    if status in ("PAUSED", "BLOCKED"):
        return None
    more = " To try again what failed, use `houston retry`." if status in ("FAILED", "CANCELLED") else ""
    return f"is {status}; only a PAUSED or BLOCKED flow can be resumed.{more}"


def _check_retry(
    control: Control, status: str, tasks: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    if status == "COMPLETED":
        return "is COMPLETED; there is nothing to retry. `houston rerun` makes a new flow of its spec."
    if status == "BLOCKED":
        return "is BLOCKED; let it go on with `houston resume` when its reason is gone."
    for key, task_status in tasks.items():
        if task_status not in ("FAILED", "CANCELLED", "SKIPPED"):
            return (
                f"cannot retry its task {key!r}, which is {task_status}; a task that is FAILED, CANCELLED or "
                f"SKIPPED can be retried. Completed work is repeated only where it stood on what is retried."
            )
    if not tasks and status not in ("FAILED", "CANCELLED") and not counts.get("FAILED"):
        return f"is {status} and no task of it failed; there is nothing to retry."
    return None


def _check_skip(
    control: Control, status: str, tasks: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    if not tasks:
        return "cannot be skipped; name the tasks to do without."
    if status in ("COMPLETED", "CANCELLED"):
        return f"is {status}; tasks can be skipped of an unfinished or a FAILED flow."
    for key, task_status in tasks.items():
        if task_status in ("COMPLETED", "SKIPPED", "CANCELLED"):
            return f"cannot skip its task {key!r}, which is {task_status} already."
    return None


def _check_set(
    control: Control, status: str, tasks: Mapping[str, str], counts: Mapping[str, int]
) -> str | None:
    if control.data is None and control.params is None:
        return "is left as it is: neither data nor params were given."
    if len(control.tasks) > 1:
        return "can have the data or params of one task set at a time."
    if status == "COMPLETED":
        return "is COMPLETED; what is done stays as it was. `houston rerun` makes a new flow of its spec."
    if not tasks:
        if control.params is not None:
            return "has no params to set; name the task whose params are meant."
        return None
    ((key, task_status),) = tasks.items()
    if task_status == "COMPLETED":
        return f"keeps its task {key!r} as it is: it is COMPLETED, and what is done stays as it was."
    if control.params is not None and task_status in ("RUNNING", "WAITING"):
        return (
            f"cannot change the params of its task {key!r}, which is {task_status} with those it has. Wait "
            f"for its end, or skip it."
        )
    return None


_Check = Callable[[Control, str, Mapping[str, str], Mapping[str, int]], "str | None"]
_CHECKS: Final[Mapping[ControlKind, _Check]] = {
    ControlKind.CANCEL: _check_cancel,
    ControlKind.PAUSE: _check_pause,
    ControlKind.RESUME: _check_resume,
    ControlKind.RETRY: _check_retry,
    ControlKind.SKIP: _check_skip,
    ControlKind.SET: _check_set,
}
