"""Checks of single tasks and of a flow's own keys that the schema cannot make."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from mc.context.interpolation import has_references
from mc.errors import McError
from mc.spec.checks.conditions import check_patterns
from mc.spec.checks.references import check_references, check_wirings, refuse_references
from mc.spec.checks.resources import check_resources
from mc.spec.checks.signals import check_signal_params
from mc.spec.checks.times import check_duration, check_retry, check_time, check_timeout
from mc.spec.findings import OWN_CODE, Findings
from mc.spec.item_limits import find_contradiction
from mc.spec.leave import Refusal
from mc.spec.problems import join_pointer, list_names, shorten
from mc.spec.schema.params_schema import check_params_schema, warn_of_own_data
from mc.spec.task_types import OLDER_PREFIX, canonical_task_type

__all__ = ["check_flow_head", "check_task", "check_task_cfg"]

# Part of the format and not acted upon yet: to take them in silence would be to promise.
_FLOW_CFG_LATER: Final = ("on_success", "on_failure", "retain")
_TASK_CFG_LATER: Final = ("cache",)

_DURATION_PARAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "wait": ("duration",),
    "loop": ("delay",),
    "wait_for_signal": ("timeout",),  # 0 asks for a signal that is there already
}

# Where code is named, and for what is looked in a module where that may be named alone.
_FUNCTION_PARAMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "call": ("function", None),
    "job": ("job_type", "build"),
}
_JOB_TYPES: Final = frozenset({"call", "http", "job", "shell"})
_UNREAD_PARAMS: Final = frozenset({"wirings", "mapping_params"})


def check_flow_head(flow: dict[str, Any], pointer: str, findings: Findings) -> None:
    """Check what a flow spec says beside its tasks."""
    cfg = flow.get("cfg")
    if type(cfg) is dict:
        _check_later_keys(cfg, _FLOW_CFG_LATER, f"{pointer}/cfg", findings)
        check_timeout(cfg.get("timeout"), f"{pointer}/cfg/timeout", "the flow", findings)
    params = flow.get("params")
    if params is not None:
        since = len(findings.problems)
        check_params_schema(params, f"{pointer}/params", findings)
        if type(params) is dict and type(flow.get("data")) is dict and len(findings.problems) == since:
            warn_of_own_data(params, flow["data"], pointer, findings)


def check_task(
    task: dict[str, Any],
    pointer: str,
    keys: Collection[str] | None,
    findings: Findings,
    since: int,
    holder: str | None = None,
) -> None:
    """Check a task from which the specs inside it were taken out.

    Args:
        task: the task.
        pointer: where it stands.
        keys: the tasks of the flow that it will run in, or None where that is not known.
        findings: where problems go.
        since: number of problems noted before this task.
        holder: where the `resources` of a task around it stand, if there are any.
    """
    key = task.get("key")
    # The schema's pattern lets a few letters through that Python does not.
    if type(key) is str and not key.isidentifier() and "key" not in findings.refused_steps(pointer, since):
        message = f"The key {shorten(key)} is not a Python identifier."
        findings.add("MC104", f"{pointer}/key", message, found=key, expected="a Python identifier")
    task_type = task.get("task_type")
    name = ""
    if type(task_type) is str and task_type:
        name = canonical_task_type(task_type)
        _check_type(task_type, name, f"{pointer}/task_type", findings)
        _check_leave(task, name, pointer, findings)
    cfg = task.get("cfg")
    if type(cfg) is dict and cfg:
        check_task_cfg(cfg, f"{pointer}/cfg", keys, findings)
        if cfg.get("resources"):
            check_resources(cfg["resources"], f"{pointer}/cfg/resources", holder, findings)
    if type(task.get("data")) is dict and task["data"]:
        refuse_references(task["data"], f"{pointer}/data", findings)
    params = task.get("task_params")
    if type(params) is dict and params:
        if type(task_type) is str:
            _check_param_names(task_type, params, f"{pointer}/task_params", findings)
        _check_params(name, params, f"{pointer}/task_params", keys, findings, since)


def _check_type(task_type: str, name: str, pointer: str, findings: Findings) -> None:
    known = findings.known_types
    if task_type not in known:
        can_be_run = name in findings.task_types or task_type in findings.task_types
        known[task_type] = None if can_be_run else _why_not(name, findings)
    reason = known[task_type]
    if reason is None:
        find_doubt = getattr(findings.task_types, "find_doubt", None)
        doubt = find_doubt(task_type) if find_doubt is not None and _is_path(name) else None
        if doubt is not None:
            findings.warn("MC112", pointer, doubt, found=task_type)
        return
    if reason:
        expected = "a task type that can be run"
        findings.add_own_code("MC112", pointer, reason, found=task_type, expected=expected, suggestion=None)
        return
    suggestion = findings.suggester.nearest(name.removeprefix(OLDER_PREFIX), findings.type_names)
    message = f"There is no task type {shorten(task_type)}. {OWN_CODE}"
    expected = "a built-in or registered task type"
    if findings.type_names:
        expected += f": {', '.join(sorted(findings.type_names)[:20])}"
    findings.add_own_code(
        "MC111", pointer, message, found=task_type, expected=expected, suggestion=suggestion
    )


def _check_leave(task: dict[str, Any], name: str, pointer: str, findings: Findings) -> None:
    """Ask whether commands and addresses may be named, where anybody can tell."""
    ask = getattr(findings.task_types, "refuse", None)
    if ask is None:
        return
    params = task.get("task_params")
    refusal: Refusal | None = ask(name, params if type(params) is dict else {})
    if refusal is not None:
        at = f"{pointer}/task_params/{refusal.param}" if refusal.param else f"{pointer}/task_type"
        found = params[refusal.param] if type(params) is dict and refusal.param else task["task_type"]
        findings.add("MC113", at, refusal.message, found=found, expected=refusal.expected)


def _check_param_names(task_type: str, params: dict[str, Any], pointer: str, findings: Findings) -> None:
    """Compare parameters with those that the function takes which is the handler, where that is known."""
    ask = getattr(findings.task_types, "known_params", None)
    known: frozenset[str] | None = ask(task_type) if ask is not None else None
    if known is None:
        return
    for name in params:
        if name not in known:
            findings.add(
                "MC003",
                join_pointer(pointer, name),
                f"The function that handles {shorten(task_type)} takes no parameter {shorten(name)}.",
                found=name,
                expected=f"one of {list_names(sorted(known), 20)}",
                suggestion=findings.suggester.nearest(name, known),
            )


def _why_not(task_type: str, findings: Findings) -> str | None:
    """Return why a type cannot be run: a sentence, or "" where there is no more to say; None if it can."""
    ask = getattr(findings.task_types, "why_not", None)
    is_broken = getattr(findings.task_types, "has_broken_modules", False)  # one of them may have the type
    if ask is None or not (_is_path(task_type) or is_broken):
        return ""
    reason: str | None = ask(task_type)
    return reason


def _is_path(task_type: str) -> bool:
    return ("." in task_type or ":" in task_type) and not task_type.startswith(OLDER_PREFIX)


def check_task_cfg(
    cfg: dict[str, Any], pointer: str, keys: Collection[str] | None, findings: Findings
) -> None:
    """Check a task's `cfg`, its `resources` left out; see `check_task`."""
    _check_later_keys(cfg, _TASK_CFG_LATER, pointer, findings)
    check_timeout(cfg.get("timeout"), f"{pointer}/timeout", "the task", findings)
    retry = cfg.get("retry")
    if type(retry) is dict:
        check_retry(retry, f"{pointer}/retry", findings)
    if "when" in cfg:
        check_patterns(cfg["when"], f"{pointer}/when", findings)
        check_references(cfg["when"], f"{pointer}/when", keys, findings)


def _check_durations(name: str, params: dict[str, Any], pointer: str, findings: Findings) -> None:
    given = {key: params.get(key) for key in _DURATION_PARAMS.get(name, ())}
    requests = params.get("requests")
    if name in _JOB_TYPES and isinstance(requests, dict):
        given["requests/time"] = requests.get("time")
    for place, value in given.items():
        if not has_references(value):
            check_duration(value, f"{pointer}/{place}", findings)


def _check_params(
    name: str,
    params: dict[str, Any],
    pointer: str,
    keys: Collection[str] | None,
    findings: Findings,
    since: int,
) -> None:
    read = params
    if name == "spread" or (name == "wire" and type(params.get("wirings")) is list):
        # Of wirings only the values of `wire` are read as references, and not the rest.
        read = {key: part for key, part in params.items() if key not in _UNREAD_PARAMS}
    check_references(read, pointer, keys, findings)
    _check_durations(name, params, pointer, findings)
    if name == "wait":
        check_time(params.get("until"), f"{pointer}/until", findings)
    elif name == "wire":
        _check_wire(params.get("wirings"), f"{pointer}/wirings", keys, findings, since)
    elif name == "spread":
        _check_spread(params.get("mapping_params"), f"{pointer}/mapping_params", keys, findings, since)
        _check_item_limits(params, pointer, findings)
    elif name in _FUNCTION_PARAMS:
        key, of_modules = _FUNCTION_PARAMS[name]
        _check_function(params.get(key), f"{pointer}/{key}", findings, of_modules)
    elif name == "loop":
        for key in ("while", "until"):
            check_patterns(params.get(key), f"{pointer}/{key}", findings)
    elif name == "switch" and type(params.get("cases")) is list:
        for at, case in enumerate(params["cases"]):
            if type(case) is dict:
                check_patterns(case.get("condition"), f"{pointer}/cases/{at}/condition", findings)
    elif name in ("wait_for_signal", "approval"):
        check_signal_params(name, params, pointer, findings)


def _check_wire(
    wirings: Any, pointer: str, keys: Collection[str] | None, findings: Findings, since: int
) -> None:
    check_wirings(wirings, pointer, keys, findings, since=since)
    for at, item in enumerate(wirings if type(wirings) is list else ()):
        if type(item) is dict:
            check_references(item.get("value"), f"{pointer}/{at}/value", keys, findings)


def _check_spread(
    mapping: Any, pointer: str, keys: Collection[str] | None, findings: Findings, since: int
) -> None:
    if type(mapping) is not dict:
        return
    skeleton, wirings = mapping.get("skeleton"), mapping.get("wirings")
    task_type = skeleton.get("task_type") if type(skeleton) is dict else None
    name = canonical_task_type(task_type) if type(task_type) is str else None
    if type(wirings) is list and any("ctx.skeleton.task_type" in str(item) for item in wirings):
        name = None  # each item may be of another type
    place = f"{pointer}/wirings"
    check_wirings(wirings, place, keys, findings, since=since, in_skeleton=True, skeleton_type=name)


def _check_item_limits(params: dict[str, Any], pointer: str, findings: Findings) -> None:
    items = params.get("items")
    wrong = find_contradiction(params, len(items) if isinstance(items, list | dict) else None)
    if wrong is not None:
        name, message = wrong
        expected = "limits that its items can keep to"
        findings.add("MC123", f"{pointer}/{name}", message, found=params[name], expected=expected)


def _check_function(function: Any, pointer: str, findings: Findings, of_modules: str | None) -> None:
    """Ask whether a function that is named as it is, and not by a reference, can be called.

    Args:
        function: what the spec names.
        pointer: to it.
        findings: where problems go.
        of_modules: the function that is looked for where a module is named; None: a function must be.
    """
    examine = getattr(findings.task_types, "examine_function", None)
    if examine is None or type(function) is not str or has_references(function):
        return
    module_name, colon, attribute = function.partition(":")
    path, expected = function, "a function of an allowed module"
    if of_modules is not None:
        expected = "a function of an allowed module, or a job module"
        if not colon:
            path = f"{function}:{of_modules}"
    elif not module_name or not colon or not attribute:
        return  # which the schema has refused
    if path not in findings.known_functions:
        try:
            findings.known_functions[path] = examine(path)
        except McError as error:
            findings.known_functions[path] = error
    known = findings.known_functions[path]
    if isinstance(known, McError):
        said = known.message.replace(repr(path), repr(function))
        near = known.details.get("suggestion") if colon else None
        findings.add_own_code(
            "MC112",
            pointer,
            said.removesuffix(f" Did you mean {near!r}?"),
            found=function,
            expected=expected,
            suggestion=f"{module_name}:{near}" if near else None,
        )
    elif known is not None:
        findings.warn("MC112", pointer, known, found=function)


def _check_later_keys(cfg: dict[str, Any], later: tuple[str, ...], pointer: str, findings: Findings) -> None:
    for key in later:
        if key in cfg:
            message = f"`{key}` is part of the format, but this version does not act upon it."
            findings.add("MC120", f"{pointer}/{key}", message, found=cfg[key], expected=f"no `{key}`")
