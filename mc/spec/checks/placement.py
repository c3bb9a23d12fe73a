"""Checks of keys that are part of the format, but have no meaning where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mc.spec.findings import Findings
from mc.spec.nested_specs import NestedSpec
from mc.spec.problems import shorten
from mc.spec.schema.schema_check import known_names
from mc.spec.task_graph import ROOT_TASK_KEY

__all__ = ["check_placement", "check_skeleton_path"]


def check_placement(nested: NestedSpec, findings: Findings) -> None:
    """Note the keys of a spec inside a task that would be passed over there."""
    for steps, value, reason in _list_misplaced(nested):
        key = steps.rpartition("/")[2]
        findings.add(
            "MC121", f"{nested.pointer}/{steps}", reason, found=value, expected=f"no {shorten(key)} here"
        )


def _list_misplaced(nested: NestedSpec) -> Iterator[tuple[str, Any, str]]:
    spec = nested.value
    if nested.is_flow:
        if "key" in spec:
            reason = "A sub-flow gets its key from the task that runs it; leave `key` out."
            yield "key", spec["key"], reason
        return
    cfg = spec.get("cfg")
    rule = cfg.get("start_when") if type(cfg) is dict else None
    if nested.is_proxied:
        for key in ("precursors", "successors"):
            if key in spec:
                yield key, spec[key], f"A task of a `switch` starts with the switch: write `{key}` there."
        if rule is not None:
            reason = "A task of a `switch` starts with the switch: write `cfg.start_when` there."
            yield "cfg/start_when", rule, reason
        return
    for key in ("precursors", "successors"):
        if type(spec.get(key)) is list and not set(map(str, spec[key])) <= {ROOT_TASK_KEY}:
            reason = (
                f"The task of every item would have these `{key}`, those that are named too. Leave the key "
                f"out, for items in parallel, or let a wiring write to ctx.skeleton.{key}."
            )
            yield key, spec[key], reason
    if rule is not None and not nested.has_wired_edges:
        reason = "The tasks of the items wait for nothing, unless a wiring writes to ctx.skeleton.precursors."
        yield "cfg/start_when", rule, reason


def check_skeleton_path(
    path: str, steps: tuple[str | int, ...], task_type: str | None, pointer: str, findings: Findings
) -> None:
    """Check that a path below `ctx.skeleton` leads to a place that the task of an item has.

    Args:
        path: as it is written.
        steps: the same, parsed.
        task_type: the skeleton's, canonical; None where it is not known.
        pointer: where the wiring stands.
        findings: where problems go.
    """
    places = [(2, known_names("template_task"), "a task")]
    if len(steps) > 3 and steps[2] == "cfg":
        places.append((3, known_names("task_cfg"), "the cfg of a task"))
    if len(steps) > 3 and steps[2] == "task_params" and task_type is not None:
        names = known_names("template_params", task_type)
        if names is not None:
            places.append((3, names, f"the parameters of {task_type}"))
    for at, names, owner in places:
        step = str(steps[at])
        if names is not None and step not in names:
            findings.add(
                "MC003",
                pointer,
                f"The wiring writes to {shorten(path)}, but {shorten(step)} is not a key of {owner}.",
                found=path,
                expected=f"one of {', '.join(names)}" if names else "no parameters",
                suggestion=findings.suggester.nearest(step, names),
            )
            return
