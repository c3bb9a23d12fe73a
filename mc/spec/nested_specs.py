"""Specs inside the parameters of tasks; each is checked on a level of its own.

So nothing recurses from level to level, and alike tasks stay alike whatever they contain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mc.spec.problems import join_pointer
from mc.spec.task_types import canonical_task_type

__all__ = ["NestedSpec", "take_out_nested_specs"]

# What is put in the place of a nested spec: nothing is wrong with it.
_EMPTY_FLOW: Final[Mapping[str, Any]] = {}
_EMPTY_TASK: Final[Mapping[str, Any]] = {"task_type": "noop"}
_EDGES: Final = re.compile(r"\bctx\.skeleton\.(precursors|successors)\s*$")
_HOLDERS: Final = frozenset({"flow", "inline_flow", "loop", "spread", "switch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedSpec:
    """A spec inside a task.

    Attributes:
        value: the spec.
        pointer: where it stands.
        is_flow: a flow spec, else a task spec.
        is_template: wirings complete it, so parameters may be missing.
        is_proxied: a task that stands in the outer task's place, in the same flow.
        has_wired_edges: wirings say which tasks it waits for.
        holder: where the `resources` of the innermost task around it stand that has some.
    """

    value: dict[str, Any]
    pointer: str
    is_flow: bool
    is_template: bool
    is_proxied: bool = False
    has_wired_edges: bool = False
    holder: str | None = None


def take_out_nested_specs(
    task: dict[str, Any], pointer: str, is_template: bool
) -> tuple[dict[str, Any], list[NestedSpec]]:
    """Return the task without the specs inside it, and these specs.

    Only mappings are taken out; whatever else stands in their place stays for the schema to refuse.
    """
    task_type = task.get("task_type")
    params = task.get("task_params")
    if type(task_type) is not str or type(params) is not dict:
        return task, []
    name = canonical_task_type(task_type)
    if name not in _HOLDERS:
        return task, []
    place = pointer + "/task_params"
    if name == "spread":
        params, nested = _take_skeleton(params, place)
    elif name == "switch":
        params, nested = _take_cases(params, place, is_template)
    else:
        params, nested = _take_flow(params, place, is_template)
    return ({**task, "task_params": params} if nested else task), nested


def _take_flow(
    params: dict[str, Any], place: str, is_template: bool
) -> tuple[dict[str, Any], list[NestedSpec]]:
    spec = params.get("flow_spec")
    if type(spec) is not dict:
        return params, []
    nested = NestedSpec(value=spec, pointer=f"{place}/flow_spec", is_flow=True, is_template=is_template)
    return {**params, "flow_spec": dict(_EMPTY_FLOW)}, [nested]


def _take_skeleton(params: dict[str, Any], place: str) -> tuple[dict[str, Any], list[NestedSpec]]:
    mapping = params.get("mapping_params")
    if type(mapping) is not dict or type(mapping.get("skeleton")) is not dict:
        return params, []
    nested = NestedSpec(
        value=mapping["skeleton"],
        pointer=f"{place}/mapping_params/skeleton",
        is_flow=False,
        is_template=True,
        has_wired_edges=_writes_edges(mapping.get("wirings")),
    )
    # The type is left, because it says where the wirings may write.
    left = {"task_type": mapping["skeleton"].get("task_type") or _EMPTY_TASK["task_type"]}
    if type(left["task_type"]) is not str:
        left = dict(_EMPTY_TASK)
    return {**params, "mapping_params": {**mapping, "skeleton": left}}, [nested]


def _writes_edges(wirings: Any) -> bool:
    ends = [
        item.get("dest") if type(item) is dict else item
        for item in (wirings if type(wirings) is list else ())
    ]
    return any(type(end) is str and _EDGES.search(end) for end in ends)


def _take_cases(
    params: dict[str, Any], place: str, is_template: bool
) -> tuple[dict[str, Any], list[NestedSpec]]:
    params = dict(params)
    nested: list[NestedSpec] = []

    def take(case: Any, pointer: str) -> Any:
        if type(case) is not dict or type(case.get("task")) is not dict:
            return case
        nested.append(
            NestedSpec(
                value=case["task"],
                pointer=f"{pointer}/task",
                is_flow=False,
                is_template=is_template,
                is_proxied=True,
            )
        )
        return {**case, "task": dict(_EMPTY_TASK)}

    if type(params.get("cases")) is list:
        places = [join_pointer(place, "cases", at) for at in range(len(params["cases"]))]
        params["cases"] = [take(case, at) for case, at in zip(params["cases"], places, strict=True)]
    if "default_case" in params:
        params["default_case"] = take(params["default_case"], f"{place}/default_case")
    return params, nested
