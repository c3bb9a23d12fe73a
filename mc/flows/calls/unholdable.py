"""Values that JSON cannot hold, taken out of what a task left that has failed."""

from __future__ import annotations

from typing import Any

from mc.context.json_values import to_json_value
from mc.flows.state.task_node import Task
from mc.interrupts import INTERRUPTS

__all__ = ["drop_what_json_cannot_hold", "without_unholdable"]


def drop_what_json_cannot_hold(task: Task) -> None:
    """Replace what JSON cannot hold by null; the task's failure has been recorded already."""
    for name, value in list(task.items()):
        if type(name) is not str:
            del task[name]
        else:
            task[name] = without_unholdable(value) if isinstance(value, dict) else _json_or_none(value)
    for name in ("data", "task_params"):
        if type(task.get(name)) is not dict:
            task[name] = {}


def without_unholdable(data: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with null in the place of the values that JSON cannot hold."""
    checked = _json_or_none(data)
    if checked is not None:
        return checked  # type: ignore[no-any-return]
    return {key: _json_or_none(value) for key, value in data.items() if type(key) is str}


def _json_or_none(value: Any) -> Any:
    try:
        return to_json_value(value)
    except BaseException as error:
        if INTERRUPTS.caused(error):
            raise
        return None
