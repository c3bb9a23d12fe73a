"""The parent that `$ctx.parent` reads in a sub-flow that has a record of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mc.errors import FlowNotFoundError, StoreUnreachableError
from mc.flows.calls.task_context import FlowView
from mc.flows.flow import Flow, Task
from mc.store.flow_store import FlowStore

__all__ = ["StoredParent"]

OnOutage = Callable[[StoreUnreachableError], object]


class StoredParent(Mapping[str, Any]):
    """The `flow`, `task` and, where there is one, `parent` around a stored sub-flow.

    They are read when something first asks for them, once while the sub-flow is held, and are as they
    were saved last.

    Args:
        store: where both flows are.
        flow: the sub-flow.
        on_outage: told where the store cannot be read: that is no failure of a task.
    """

    def __init__(self, store: FlowStore, flow: Flow, on_outage: OnOutage) -> None:
        self._store = store
        self._flow = flow
        self._on_outage = on_outage
        self._found: Mapping[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Mapping[str, Any]:
        if self._found is None:
            waiter = self._load_waiter()
            if waiter is None:
                self._found = {}
            elif waiter.parent_key is not None and waiter.parent_key == self._flow.parent_key:
                self._found = StoredParent(self._store, waiter, self._on_outage)  # an item's: see `spread`
            else:
                self._found = self._look_in(waiter, self._surroundings_of(waiter))
        return self._found

    def _load_waiter(self) -> Flow | None:
        key = self._store.state_of(self._flow).waiter_key
        try:
            return self._store.load(key) if key is not None else None
        except FlowNotFoundError:
            return None  # deleted meanwhile
        except StoreUnreachableError as error:
            self._on_outage(error)
            raise

    def _surroundings_of(self, waiter: Flow) -> dict[str, Any]:
        if waiter.parent_key is None:
            return {}
        return {"parent": StoredParent(self._store, waiter, self._on_outage)}

    def _look_in(self, flow: Flow, surroundings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the context of the task that waits, which may be in a flow inside a task of this one."""
        wanted = self._flow.parent_key or ""
        here = {**surroundings, "flow": FlowView(flow)}
        if flow.key == wanted:
            node = flow.state.tasks.nodes.get(self._flow.parent_task_key or "")
            return {**here, "task": node.task} if node is not None else here
        for node in flow.state.tasks.running:
            for task, inner in _flows_inside(flow, node.task):
                # a sub-flow's key begins with that of the flow around it
                if f"{wanted}/".startswith(f"{inner.key}/"):
                    return self._look_in(inner, {"parent": {**here, "task": task}})
        return {}


def _flows_inside(flow: Flow, task: Task) -> Iterator[tuple[Task, Flow]]:
    """Yield the flow that lives inside of a task, or of the task that is proxied by it."""
    inner, proxied = flow.find_sub_flow(task), task.get("proxied_task")
    if inner is not None:
        yield task, inner
    if isinstance(proxied, dict):
        yield from _flows_inside(flow, proxied)
