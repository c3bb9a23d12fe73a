"""Tasks by the paths that people give: a key, or `outer/inner` for a task inside of others."""

from __future__ import annotations

from difflib import get_close_matches

from mc.errors import GraphError
from mc.flows.calls.failed_task import inner_tasks
from mc.flows.flow import Flow, Task
from mc.flows.state.flow_state import FlowState

__all__ = ["find_task"]


def find_task(flow: Flow, path: str) -> tuple[FlowState, Task]:
    """Return a task, with the flow that it is in; keys may hold slashes themselves.

    Raises:
        GraphError: there is none; the message names the nearest one.
    """
    tasks, rest = {key: (flow.state, task) for key, task in flow.tasks.items()}, path
    while rest not in tasks:
        outer = next((key for key in tasks if rest.startswith(f"{key}/")), None)
        if outer is None:
            near = get_close_matches(rest, tasks, n=1)
            hint = f" Did you mean {f'{path[: len(path) - len(rest)]}{near[0]}'!r}?" if near else ""
            raise GraphError(f"Flow {flow.key!r} has no task {path[:100]!r}.{hint}", key=flow.key)
        tasks, rest = inner_tasks(*tasks[outer]), rest.removeprefix(f"{outer}/")
    return tasks[rest]
