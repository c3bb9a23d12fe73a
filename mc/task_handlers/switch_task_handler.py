"""The task type `switch`: runs the task of the first case that holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mc.context.conditions import apply_operator, check_condition
from mc.context.interpolation import interpolate
from mc.context.json_values import dumps
from mc.flows.calls.failure import shorten
from mc.task_handlers.bases.base_proxying_task_handler import BaseProxyingTaskHandler

__all__ = ["SwitchTaskHandler", "TaskHandler"]


class SwitchTaskHandler(BaseProxyingTaskHandler):
    """Proxies the task of the first of `cases` that holds for `control_value`, or of `default_case`."""

    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"cases", "default_case"})

    def generate_proxied_task(self) -> Mapping[str, Any]:
        """Return the chosen task."""
        control_value = self.read_param("control_value")
        cases = self.read_param("cases", list, [])
        for number, case in enumerate(cases):
            place = f"task_params.cases[{number}]"
            if not isinstance(case, Mapping):
                raise self.spec_error(f"{place} must be a mapping of condition and task")
            if self._holds(case.get("condition"), control_value, number):
                return self._read_task(case, place)
        default_case = self.read_param("default_case", dict, None)
        if default_case is not None:
            return self._read_task(default_case, "task_params.default_case")
        shown = shorten(dumps(control_value), 200)
        raise self.spec_error(
            f"none of its {len(cases)} cases holds for the control_value {shown}, and it has no default_case"
        )

    def _holds(self, condition: Any, control_value: Any, number: int) -> bool:
        if not isinstance(condition, Mapping):
            raise self.spec_error(f"task_params.cases[{number}].condition must be a mapping of op and arg")
        pointer = f"/task_params/cases/{number}/condition"
        check_condition({**condition, "value": None}, pointer)
        arg = interpolate(condition.get("arg"), self.task_ctx.path_ctx())
        return apply_operator(condition["op"], control_value, arg, self._where())

    def _where(self) -> str:
        """Return what to call the control value in an error: the path that it was read from."""
        raw_params: Mapping[str, Any] = self.task.get("raw_task_params") or {}
        written = raw_params.get("control_value")
        return written if isinstance(written, str) else "control_value"

    def _read_task(self, case: Mapping[str, Any], place: str) -> Mapping[str, Any]:
        task = case.get("task")
        if not isinstance(task, Mapping) or not isinstance(task.get("task_type"), str):
            raise self.spec_error(f"{place}.task must be a task, a mapping with a task_type")
        return task


TaskHandler = SwitchTaskHandler
