"""Tasks by the paths that people give: a key, or `outer/inner` for a task inside of others."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Final, NoReturn

from mc.errors import ControlError, GraphError
from mc.flows.calls.failed_task import inner_tasks
from mc.flows.flow import Flow, Task
from mc.flows.state.flow_state import FlowState

__all__ = ["find_outer_key", "find_task", "refuse_unknown_task"]

_MOST_NEAR: Final = 3  # names that were perhaps meant


def find_task(
    flow: Flow, path: str, error_class: type[ControlError | GraphError] = GraphError
) -> tuple[FlowState, Task]:
    """Return a task, with the flow that it is in.

    Args:
        flow: the outermost flow.
        path: of the task; keys may hold slashes themselves.
        error_class: of the error that is raised.

    Raises:
        GraphError: there is none, or the class that is given; the message names the nearest ones.
    """
    tasks, rest = {key: (flow.state, task) for key, task in flow.tasks.items()}, path
    while rest not in tasks:
        outer = find_outer_key(rest, tasks)
        if outer is None:
            around = path[: len(path) - len(rest)]
            refuse_unknown_task(error_class, flow.key, path, [around + key for key in tasks])
        tasks, rest = inner_tasks(*tasks[outer]), rest.removeprefix(f"{outer}/")
    return tasks[rest]


def find_outer_key(path: Any, keys: Container[str]) -> str | None:
    """Return the key of the task that a path leads into, `outer` of `outer/inner`; None if there is none."""
    parts = path.split("/") if isinstance(path, str) else []
    outer = ("/".join(parts[:end]) for end in range(1, len(parts)))
    return next((key for key in outer if key in keys), None)


def refuse_unknown_task(
    error_class: type[ControlError | GraphError], flow_key: str, path: Any, known: Iterable[str]
) -> NoReturn:
    """Raise the error for a path that leads to no task.

    Args:
        error_class: of the error.
        flow_key: of the outermost flow.
        path: that was given.
        known: paths that there are, of which the nearest are named.
    """
    from difflib import get_close_matches  # few need it

    near = get_close_matches(str(path), list(known), n=_MOST_NEAR)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    what = f"Flow {flow_key!r} has no task {path!r:.100}."
    raise error_class(
        f"{what}{hint} `houston show {flow_key}` lists its tasks.",
        key=flow_key,
        task=path,
        **({"suggestions": near} if near else {}),
    )
