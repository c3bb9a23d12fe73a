"""The task type `spread`: one task per item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, ClassVar, Final

from mc.context.gc_pause import gc_paused
from mc.context.json_values import copy_json, json_type_name
from mc.context.wiring import map_items, parse_wirings
from mc.flows.calls.item_task import note_item_call
from mc.flows.flow import Flow, Task
from mc.flows.services import SubFlowState
from mc.spec.item_limits import EXPECTED_LIMIT, ITEM_LIMITS, read_limit
from mc.spec.task_types import SPREAD_ITEM
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.bases.sub_flow import make_sub_flow
from mc.task_handlers.bases.written_places import note_written_places
from mc.task_handlers.flow_task_handler import FlowTaskHandler
from mc.task_handlers.inline_flow_task_handler import InlineFlowTaskHandler

__all__ = ["SpreadItemTaskHandler", "SpreadTaskHandler", "TaskHandler"]


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
        return _begin(self)

    def on_sub_flow_completed(self, sub_flow: Flow) -> None:
        _complete(self, sub_flow.filter_tasks())


class _SpreadFlow(FlowTaskHandler):
    def begin_sub_flow(self) -> Flow | None:
        self.data["flow_key"] = None  # where there are no items there is no sub-flow
        return _begin(self)

    def on_sub_flow_completed(self, state: SubFlowState) -> None:
        _complete(self, state.read_tasks())


class SpreadItemTaskHandler(FlowTaskHandler):
    """Runs the task of one item as a flow of its own; leaves what that task leaves.

    It stands in the place of the item's task in the sub-flow of a spread whose items are flows. What is
    around the item's flow is the spread, as if the item's task were in that sub-flow itself.
    """

    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"task"})

    def begin_sub_flow(self) -> Flow | None:
        """Return a flow that has the item's task alone."""
        item_flow = make_sub_flow(self, {"tasks": [self.read_param("task", dict)]})
        around = self.task_ctx.flow.state
        item_flow.parent_key, item_flow.state.parent_task_key = around.parent_key, around.parent_task_key
        return item_flow

    def make_extra_ctx(self) -> Mapping[str, Any]:
        """Let the item's task find what is around the spread."""
        return {"parent": self.task_ctx["parent"]} if "parent" in self.task_ctx else {}

    def on_sub_flow_completed(self, state: SubFlowState) -> None:
        """End as the item's task did: COMPLETED, SKIPPED, or FAILED where that is allowed."""
        item = next(iter(state.read_tasks()))
        note_item_call(self.task, item)
        self.data.clear()
        if item["status"] == "COMPLETED":
            self.complete(**copy_json(item["data"]))
        else:
            self._end_as(item)

    def on_sub_flow_failed(self, state: SubFlowState) -> None:
        """Fail with the error of the item's task, if that has one."""
        item = next(iter(state.read_tasks()))
        if state.status != "FAILED" or item["status"] != "FAILED":
            super().on_sub_flow_failed(state)
        note_item_call(self.task, item)
        self._end_as(item)

    def _end_as(self, item: Task) -> None:
        self.task["status"] = item["status"]
        if "error" in item:
            self.task["error"] = copy_json(item["error"])


_CONTAINERS: Final[Mapping[str, type[BaseTaskHandler]]] = {"inline_flow": _SpreadInline, "flow": _SpreadFlow}


def _begin(handler: BaseTaskHandler) -> Flow | None:
    """Return the sub-flow of the item tasks; None where there is no item, and the task is done."""
    with gc_paused():
        return _make_sub_flow(handler)


def _make_sub_flow(handler: BaseTaskHandler) -> Flow | None:
    tasks = _make_item_tasks(handler)
    limits = _read_limits(handler, len(tasks))
    if not tasks:
        _complete(handler, ())
        return None
    limit = handler.task_ctx.flow.cfg.get("max_running_tasks") if "flow" in handler.task_ctx else None
    sub_flow = make_sub_flow(
        handler, {"tasks": tasks, "cfg": {} if limit is None else {"max_running_tasks": limit}}
    )
    sub_flow.cfg.update(limits)  # the spec has none, which nobody may write there
    return sub_flow


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
    note_written_places(handler.task_ctx.flow, wirings)  # before: one may fail after others were carried out
    tasks = map_items(items, skeleton, wirings, handler.task_ctx.path_ctx())
    for idx, task in enumerate(tasks):
        task["key"] = _item_key(idx)
        if "precursors" not in task and "successors" not in task:
            task["precursors"] = []  # else it would follow the item before it
    container = handler.read_param("item_container", str, None)
    if container not in (None, "flow"):
        raise handler.spec_error(f"task_params.item_container is {container!r:.60}; expected flow")
    return tasks if container is None else [_in_own_flow(task) for task in tasks]


def _read_limits(handler: BaseTaskHandler, count: int) -> dict[str, int]:
    """Return how many items must be COMPLETED, and how many may fail, as far as the spread says so."""
    limits: dict[str, int] = {}
    for name in ITEM_LIMITS:
        given = handler.read_param(name, default=None)
        if given is None:
            continue
        limit = read_limit(given, count)
        if limit is None:
            raise handler.spec_error(f"task_params.{name} is {given!r:.60}; expected {EXPECTED_LIMIT}")
        limits[name] = limit
    if limits.get("min_completed", 0) > count:
        least = limits["min_completed"]
        raise handler.spec_error(f"task_params.min_completed is {least}, and there are {count} items")
    return limits


def _in_own_flow(task: dict[str, Any]) -> dict[str, Any]:
    """Return the task that runs an item's task as a flow; what concerns the other items stays outside."""
    inside, outside = dict(task), {name: task[name] for name in _OUTSIDE if name in task}
    for name in ("precursors", "successors"):
        inside.pop(name, None)
    cfg = task.get("cfg")
    if isinstance(cfg, dict):
        inside["cfg"] = {name: value for name, value in cfg.items() if name not in _CFG_OF_PLACE}
        may_fail = {"allow_failure"}  # of which both flows must know
        outside["cfg"] = {name: value for name, value in cfg.items() if name in _CFG_OF_PLACE | may_fail}
    return {**outside, "task_type": SPREAD_ITEM, "task_params": {"task": inside}}


def _item_key(idx: int) -> str:
    return f"item_{idx}"


def _complete(handler: BaseTaskHandler, tasks: Iterable[Task]) -> None:
    """Leave the items' outputs: a list for a list, a mapping for a mapping."""
    items = handler.params["items"]
    of_items = islice(tasks, len(items))  # the rest were added while the sub-flow ran
    found = [task["data"] if task["status"] == "COMPLETED" else None for task in of_items]
    handler.complete(results=dict(zip(items, found, strict=True)) if isinstance(items, dict) else found)


_OUTSIDE: Final[tuple[str, ...]] = ("key", "label", "precursors", "successors")
_CFG_OF_PLACE: Final = frozenset({"group", "priority", "start_when"})

TaskHandler = SpreadTaskHandler
