"""Checks of what tasks read and write: paths, the tasks they name, wirings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from mc.context.interpolation import find_references, has_references
from mc.context.paths import format_path, parse_path
from mc.errors import ContextError, PathError
from mc.spec.checks.misspelt_references import check_spelling
from mc.spec.checks.placement import check_skeleton_path
from mc.spec.findings import Findings
from mc.spec.problems import shorten
from mc.spec.task_graph import ROOT_TASK_KEY

if TYPE_CHECKING:
    from mc.context.wiring import Wiring

__all__ = ["FLOW_PLACES", "check_references", "check_wirings", "refuse_references"]

# What paths can read of a flow, and what there is in a context that has not more put into it.
FLOW_PLACES: Final = frozenset({"cfg", "data", "depth", "key", "label", "parent_key", "status", "tasks"})
_ROOTS: Final = frozenset({"flow", "idempotency_key", "item", "items", "loop", "parent", "skeleton", "task"})
_PATH_FORM: Final = "a path such as ctx.flow.data.x"


def check_references(
    value: Any, pointer: str, keys: Collection[str] | None, findings: Findings, *, may_be_text: bool = True
) -> None:
    """Check the references inside a value.

    Args:
        value: a part of a spec.
        pointer: where it stands.
        keys: the tasks of the flow that `ctx.flow` will be, or None where that is not known.
        findings: where problems go.
        may_be_text: a text that is no reference may stand there too, so that a misspelt one is looked for.
    """
    if may_be_text:
        check_spelling(value, pointer, findings)
    if not has_references(value):
        return
    for below, path in find_references(value):
        _check_path(path, pointer + below, keys, findings)


def refuse_references(data: dict[str, Any], pointer: str, findings: Findings) -> None:
    """Note the references inside a task's data, which nobody would resolve."""
    for below, path in find_references(data):
        expected = "the reference in task_params, or a wiring that copies the value"
        message = (
            f"The reference to {shorten(path)} stands in a task's data, which are taken as they are; write "
            f"{expected}."
        )
        findings.add("MC155", pointer + below, message, found=path, expected=expected)


def check_wirings(
    wirings: Any,
    pointer: str,
    keys: Collection[str] | None,
    findings: Findings,
    *,
    since: int,
    in_skeleton: bool = False,
    skeleton_type: str | None = None,
) -> None:
    """Check a list of wirings.

    Args:
        wirings: the list; anything else is left to the schema.
        pointer: where it stands.
        keys: the tasks of the flow that `ctx.flow` will be, or None where that is not known.
        findings: where problems go.
        since: number of problems noted before this task; what the schema refused since is left alone.
        in_skeleton: they may write below `ctx.skeleton` too, which is a task.
        skeleton_type: its task type, canonical; None where it is not known.
    """
    if type(wirings) is not list:
        return
    from mc.context.wiring import parse_wiring

    refused = findings.refused_steps(pointer, since)
    for at, item in enumerate(wirings):
        place = f"{pointer}/{at}"
        if str(at) in refused:
            continue
        try:
            wiring = parse_wiring(item)
        except ContextError as error:
            findings.add(
                "MC151",
                place,
                error.message,
                found=item,
                expected='"ctx.a.b => ctx.c.d" or {"source" or "value", "dest", "transform"}',
                suggestion=error.details.get("suggestion"),
            )
            continue
        for one, may_fill_skeleton in _with_inner(wiring, in_skeleton):
            _check_ends(one, place, keys, findings, may_fill_skeleton)
        steps = parse_path(wiring.dest)
        if in_skeleton and steps[1:2] == ("skeleton",) and len(steps) > 2:
            # The skeleton of a transform may be anything, this one is a task.
            check_skeleton_path(wiring.dest, steps, skeleton_type, place, findings)


def _with_inner(wiring: Wiring, in_skeleton: bool) -> Iterator[tuple[Wiring, bool]]:
    waiting = [(wiring, in_skeleton)]
    while waiting:
        one, in_skeleton = waiting.pop()
        yield one, in_skeleton
        waiting.extend((inner, True) for inner in one.wirings)


def _check_ends(
    wiring: Wiring, pointer: str, keys: Collection[str] | None, findings: Findings, in_skeleton: bool
) -> None:
    if wiring.source is not None:
        _check_path(wiring.source, pointer, keys, findings)
    if _check_path(wiring.dest, pointer, keys, findings) and not _may_write(wiring.dest, in_skeleton):
        allowed = "below ctx.flow.data, ctx.flow.tasks.<key>.data or ctx.flow.tasks.<key>.task_params"
        if in_skeleton:
            allowed += ", or below ctx.skeleton"
        findings.add(
            "MC151",
            pointer,
            f"A wiring cannot write to {shorten(wiring.dest)}; it may write {allowed}.",
            found=wiring.dest,
            expected=f"a destination {allowed}",
        )


def _may_write(dest: str, in_skeleton: bool) -> bool:
    steps = parse_path(dest)
    if steps[1:3] == ("flow", "tasks"):
        return len(steps) > 5 and steps[4] in ("data", "task_params")
    if steps[1:3] == ("flow", "data"):
        return len(steps) > 3
    return in_skeleton and steps[1:2] == ("skeleton",) and len(steps) > 2


def _check_path(path: str, pointer: str, keys: Collection[str] | None, findings: Findings) -> bool:
    """Note what is wrong with a path; return whether it is one that leads to a known task, if to any."""
    try:
        key = _task_key(path)
    except PathError as error:
        findings.add("MC150", pointer, error.message, found=path, expected=_PATH_FORM)
        return False
    _check_place(path, pointer, findings)
    if key is None or keys is None or key in keys or key == ROOT_TASK_KEY:
        return True
    findings.add(
        "MC152",
        pointer,
        f"The path {shorten(path)} names the task {shorten(key)}, but the flow has no such task.",
        found=path,
        expected="the key of a task of the same flow",
        suggestion=findings.suggester.nearest(key, keys),
    )
    return False


def _check_place(path: str, pointer: str, findings: Findings) -> None:
    """Warn of a path that leads nowhere unless whoever ticks the flow puts more into `task_ctx`."""
    if _leads_somewhere(path):
        return
    steps = parse_path(path)
    at, places = (2, FLOW_PLACES) if steps[1] == "flow" else (1, _ROOTS)
    name = str(steps[at])
    near = findings.suggester.nearest(name, places)
    if at == 1 and name in FLOW_PLACES:
        meant = ("ctx", "flow", *steps[1:])
    elif near is not None:
        meant = (*steps[:at], near, *steps[at + 1 :])
    elif at == 2:
        meant = ("ctx", "flow", "data", *steps[2:])
    else:
        return  # the caller of a tick may put it there
    where = shorten(format_path(steps[:at]))
    message = f"{where} has no {shorten(name)}, unless whoever ticks the flow puts it there."
    findings.warn("MC150", pointer, message, found=path, suggestion=format_path(meant))


@lru_cache(maxsize=4096)
def _leads_somewhere(path: str) -> bool:
    steps = parse_path(path)
    if steps[1:2] == ("flow",):
        return len(steps) == 2 or steps[2] in FLOW_PLACES
    return len(steps) < 2 or steps[1] in _ROOTS


@lru_cache(maxsize=4096)
def _task_key(path: str) -> str | None:
    steps = parse_path(path)
    return str(steps[3]) if steps[1:3] == ("flow", "tasks") and len(steps) > 3 else None
