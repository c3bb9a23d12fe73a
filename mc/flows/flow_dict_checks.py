"""Checks of a flow that came from outside as a flow dict: that its parts fit together.

A flow dict may have been written by hand, by another program, or by this library before somebody edited it.
What the engine wrote itself passes; what no flow can come to is refused, with the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mc.context.json_values import append_pointer, json_type_name, to_json_value
from mc.durations import parse_time
from mc.errors import DurationError, FlowFormatError, McError, Problem
from mc.flows.formats.flow_dict import begin_inside, state_from_dict
from mc.spec.checks.tasks import check_flow_head, check_task_cfg
from mc.spec.findings import Findings
from mc.spec.item_limits import ITEM_LIMITS
from mc.spec.names import find_key_fault, find_text_fault
from mc.spec.schema.schema_check import part_checker
from mc.spec.task_graph import ROOT_TASK_KEY, start_rule_task_keys
from mc.statuses import FINISHED_FLOW_STATUSES

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["read_flow_dict"]

_MOST: Final = 2**31 - 1  # that a counter may have counted
_NOTHING_LEFT: Final[Mapping[str, Sequence[str]]] = {  # status of a flow -> those that none of its tasks has
    "COMPLETED": ("PENDING", "RUNNING", "WAITING"),
    "FAILED": ("RUNNING", "WAITING"),
    "CANCELLED": ("RUNNING", "WAITING"),
}


def read_flow_dict(cls: type[Flow], flow_dict: Mapping[str, Any]) -> Flow:
    """Make a flow of a flow dict from outside; see `FlowEngine.flow_dict_to_flow`."""
    flow_dict = to_json_value(flow_dict)
    if type(flow_dict) is dict and flow_dict.get("key") == "":
        _refuse("/key", "a key is a text that is not empty")  # a flow without a key is given one
    flow = cls.from_state(state_from_dict(flow_dict, with_inside=False))
    _check_flow(flow, "")
    begin_inside(flow.state)
    return flow


def _check_flow(flow: Flow, pointer: str) -> None:
    """Raise `FlowFormatError` for the first thing in a flow, just read, that does not fit the rest."""
    _check_head(flow, pointer)
    _check_statuses(flow, pointer)
    for key, node in flow.state.tasks.nodes.items():
        if key == ROOT_TASK_KEY:
            continue
        place = append_pointer(f"{pointer}/graph/tasks", key)
        _check_task(node.task, place)
        if not node.precursors:
            _refuse(place, "no edge leads to the task; one from ROOT leads to a task that nothing precedes")
        for named in start_rule_task_keys(node.task):
            if named != ROOT_TASK_KEY and named not in (source.key for source in node.precursors):
                reason = f"it names {named!r}, from which no edge leads to the task"
                _refuse(f"{place}/cfg/start_when", reason)


def _check_head(flow: Flow, pointer: str) -> None:
    for name, value in (("key", flow.key), ("parent_key", flow.parent_key)):
        fault = find_key_fault(value) if value is not None else None
        if fault:
            _refuse(f"{pointer}/{name}", fault)
    for name, text in (("label", flow.label), ("parent_task_key", flow.parent_task_key)):
        fault = find_text_fault(text) if text is not None else None
        if fault:
            _refuse(f"{pointer}/{name}", fault)
    for name, number in (("ticks", flow.ticks), ("depth", flow.depth)):
        _check_count(number, f"{pointer}/{name}")
    for name in ("started_at", "finished_at", "deadline_at"):
        _check_time(getattr(flow, name), f"{pointer}/{name}")
    for at, missing in enumerate(flow.missing_handlers or ()):
        if not isinstance(missing, Mapping):
            _refuse(
                f"{pointer}/missing_handlers/{at}", f"found {json_type_name(missing)}, expected a mapping"
            )
    for name in ITEM_LIMITS:  # which the flow of a spread's items has, and no spec may write
        _check_count(flow.cfg.get(name, 0), f"{pointer}/cfg/{name}")
    cfg = {name: value for name, value in flow.cfg.items() if name not in ITEM_LIMITS}
    findings = Findings(None)
    findings.problems += part_checker("flow_cfg").find_problems(cfg, f"{pointer}/cfg", findings.suggester)
    check_flow_head({"cfg": cfg, "params": flow.params}, pointer, findings)
    _refuse_problems(findings.problems)


def _check_statuses(flow: Flow, pointer: str) -> None:
    if (flow.finished_at is not None) is not (flow.status in FINISHED_FLOW_STATUSES):
        found = "null" if flow.finished_at is None else repr(flow.finished_at)
        _refuse(f"{pointer}/finished_at", f"found {found} beside the status {flow.status}")
    for status in _NOTHING_LEFT.get(flow.status, ()):
        left = flow.get_tasks_by_status(status)
        if left:
            place = append_pointer(f"{pointer}/graph/tasks", left[0]["key"])
            _refuse(f"{place}/status", f"the task is {status} in a flow that is {flow.status}")
    if flow.status == "COMPLETED" and flow.state.has_failed:
        failed = next((node for node in flow.state.tasks.nodes.values() if _counts_as_failure(node)), None)
        if failed is None:
            _refuse(f"{pointer}/status", "found COMPLETED, but fewer tasks are than cfg.min_completed")
        place = append_pointer(f"{pointer}/graph/tasks", failed.key)
        _refuse(f"{place}/status", "the task is FAILED in a flow that is COMPLETED")


def _counts_as_failure(node: Any) -> bool:
    return node.status == "FAILED" and not node.may_fail


def _check_task(task: Mapping[str, Any], pointer: str) -> None:
    """Check a task, and what stands inside it."""
    task_type = task.get("task_type")
    if not isinstance(task_type, str) or not task_type:
        _refuse(
            f"{pointer}/task_type", f"found {json_type_name(task_type)}, expected the name of a task type"
        )
    _check_count(task.get("attempt", 0), f"{pointer}/attempt")
    for place, moment in _list_times(task, pointer):
        _check_time(moment, place)
    cfg = task.get("cfg")
    if cfg:
        findings = Findings(None)
        findings.problems += part_checker("task_cfg").find_problems(cfg, f"{pointer}/cfg", findings.suggester)
        if not findings.problems:
            check_task_cfg(cfg, f"{pointer}/cfg", None, findings)
        _refuse_problems(findings.problems)
    if not isinstance(task.get("error") or {}, Mapping):
        _refuse(f"{pointer}/error", f"found {json_type_name(task['error'])}, expected a mapping")
    proxied = task.get("proxied_task")
    if proxied is not None:
        if not isinstance(proxied, Mapping):
            _refuse(f"{pointer}/proxied_task", f"found {json_type_name(proxied)}, expected a task")
        _check_task(proxied, f"{pointer}/proxied_task")
    flow_dict = task.get("flow_dict")
    if flow_dict is not None:
        from mc.flows.flow import Flow

        try:
            inner = Flow.from_state(state_from_dict(flow_dict, with_inside=False))
        except McError as error:
            below = error.details.get("pointer") or ""
            _refuse(
                f"{pointer}/flow_dict{below}", f"the flow inside the task cannot be read: {error.message}"
            )
        _check_flow(inner, f"{pointer}/flow_dict")


def _list_times(task: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, Any]]:
    for name in ("started_at", "finished_at", "next_tick_at", "deadline_at"):
        yield f"{pointer}/{name}", task.get(name)
    waits_for = task.get("waits_for") or {}
    if not isinstance(waits_for, Mapping):
        _refuse(f"{pointer}/waits_for", f"found {json_type_name(waits_for)}, expected a mapping")
    for name in ("since", "until"):
        yield f"{pointer}/waits_for/{name}", waits_for.get(name)
    for names in ("attempts", "proxied_attempts"):
        attempts = task.get(names) or []
        if not isinstance(attempts, list):
            _refuse(f"{pointer}/{names}", f"found {json_type_name(attempts)}, expected a list")
        for at, attempt in enumerate(attempts):
            place = f"{pointer}/{names}/{at}"
            if not isinstance(attempt, Mapping):
                _refuse(place, f"found {json_type_name(attempt)}, expected an attempt")
            _check_count(attempt.get("attempt", 0), f"{place}/attempt")
            if not isinstance(attempt.get("error") or {}, Mapping):
                _refuse(f"{place}/error", "expected a mapping")
            for name in ("started_at", "finished_at"):
                yield f"{place}/{name}", attempt.get(name)


def _check_time(value: Any, pointer: str) -> None:
    if value is None:
        return
    try:
        parse_time(value)
    except DurationError as error:
        _refuse(pointer, error.message)


def _check_count(value: Any, pointer: str) -> None:
    if type(value) is not int or not 0 <= value <= _MOST:
        _refuse(pointer, f"found {value!r:.40}, expected a whole number of 0 to {_MOST}")


def _refuse_problems(problems: Sequence[Problem]) -> None:
    if problems:
        first = problems[0]
        raise FlowFormatError(str(first), pointer=first.pointer)


def _refuse(pointer: str, reason: str) -> NoReturn:
    raise FlowFormatError(f"{pointer}: {reason.rstrip('.')}.", pointer=pointer)
