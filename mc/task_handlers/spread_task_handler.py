"""The task type `spread`: one task per item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from mc.context.json_values import json_type_name
from mc.context.wiring import map_items, parse_wirings
from mc.flows.flow import Flow
from mc.flows.sub_flow_service import SubFlowState
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.flow_task_handler import FlowTaskHandler
from mc.task_handlers.inline_flow_task_handler import InlineFlowTaskHandler
from mc.task_handlers.sub_flow import make_sub_flow
from mc.task_handlers.written_places import note_written_places

__all__ = ["SpreadTaskHandler", "TaskHandler"]


class SpreadTaskHandler(BaseTaskHandler):
    """Runs a copy of a task for each of `items`, as a sub-flow; leaves `results`."""

    has_effects: ClassVar[bool] = False
    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"mapping_params"})

    def tick_task(self) -> Any:
        """Let the container's handler advance the sub-flow of the item tasks."""
        return self._container().tick_task()

    def cancel(self) -> None:
        """Cancel the sub-flow of the item tasks."""
        self._container().cancel()

    def _container(self) -> BaseTaskHandler:
        name = self.read_param("container_task_type", str, "inline_flow")
        container = _CONTAINERS.get(name.removeprefix("mc.tasks."))
        if container is None:
            raise self.spec_error(
                f"task_params.container_task_type is {name!r:.60}; expected one of {', '.join(_CONTAINERS)}"
            )
        return container(self.task, self.task_ctx)


class _SpreadInline(InlineFlowTaskHandler):
    def begin_sub_flow(self) -> Flow | None:
        tasks = _make_item_tasks(self)
        if not tasks:
            _complete(self, [])
            return None
        return make_sub_flow(self, {"tasks": tasks})

    def on_sub_flow_completed(self, sub_flow: Flow) -> None:
        tasks = sub_flow.filter_tasks()
        _complete(self, (task["data"] if task["status"] == "COMPLETED" else None for task in tasks))


class _SpreadFlow(FlowTaskHandler):
    def begin_sub_flow(self) -> Flow | None:
        tasks = _make_item_tasks(self)
        if not tasks:
            _complete(self, [])
            return None
        # All that a stored sub-flow shows of its tasks are its results.
        paths = {task["key"]: f"$ctx.flow.tasks.{task['key']}.data" for task in tasks}
        paths |= {f"{key}_status": f"$ctx.flow.tasks.{key}.status" for key in paths}
        return make_sub_flow(self, {"tasks": tasks, "results": paths})

    def on_sub_flow_completed(self, state: SubFlowState) -> None:
        found = state.results or {}
        keys = (_item_key(idx) for idx in range(len(self.params["items"])))
        _complete(self, (found[key] if found[f"{key}_status"] == "COMPLETED" else None for key in keys))


_CONTAINERS: Final[Mapping[str, type[BaseTaskHandler]]] = {"inline_flow": _SpreadInline, "flow": _SpreadFlow}


def _make_item_tasks(handler: BaseTaskHandler) -> list[dict[str, Any]]:
    items = handler.read_param("items")
    if not isinstance(items, list | dict):
        raise handler.spec_error(
            f"task_params.items is {json_type_name(items)}; expected a list or a mapping"
        )
    mapping = handler.read_param("mapping_params", dict)
    skeleton = mapping.get("skeleton")
    if not isinstance(skeleton, dict):
        raise handler.spec_error("task_params.mapping_params.skeleton must be a task, a mapping")
    wirings = parse_wirings(mapping.get("wirings") or [])
    tasks = map_items(items, skeleton, wirings, handler.task_ctx.path_ctx())
    note_written_places(handler.task_ctx.flow, wirings)
    for idx, task in enumerate(tasks):
        task["key"] = _item_key(idx)
        if "precursors" not in task and "successors" not in task:
            task["precursors"] = []  # else it would follow the item before it
    return tasks


def _item_key(idx: int) -> str:
    return f"item_{idx}"


def _complete(handler: BaseTaskHandler, results: Iterable[Any]) -> None:
    """Leave the items' outputs: a list for a list, a mapping for a mapping."""
    items = handler.params["items"]
    found = list(results)
    handler.complete(results=dict(zip(items, found, strict=True)) if isinstance(items, dict) else found)


TaskHandler = SpreadTaskHandler
