"""The task type `log`: logs a message."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from mc.context.json_values import dumps
from mc.context.paths import nearest_name
from mc.printable import printable
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["LEVELS", "LogTaskHandler", "TaskHandler"]

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_DEFAULT_LOGGER_NAME: Final = "mc.task"


class LogTaskHandler(BaseTaskHandler):
    """Logs `msg` to a logger of the standard library; `dump_task` and `dump_flow` append JSON.

    Control characters and ends of lines are written as escapes: a message is one line wherever it goes.
    """

    has_effects: ClassVar[bool] = False

    def tick_task(self) -> None:
        """Log and complete."""
        import logging

        msg = self.read_param("msg")
        level = self._read_level()
        lines = [msg if isinstance(msg, str) else dumps(msg)]
        if self.read_param("dump_task", bool, False):
            lines.append(f"task: {dumps(self.task)}")
        if self.read_param("dump_flow", bool, False):
            lines.append(f"flow: {dumps(self.task_ctx.flow.to_flow_dict())}")
        logger = logging.getLogger(self.read_param("logger_name", str, _DEFAULT_LOGGER_NAME))
        logger.log(getattr(logging, level), "%s", "\n".join(map(printable, lines)), extra=self._extra())
        self.task["status"] = "COMPLETED"

    def _read_level(self) -> str:
        level: str = self.read_param("level", str, "INFO")
        if level not in LEVELS:
            nearest = nearest_name(level.upper(), LEVELS)
            hint = f" Did you mean {nearest!r}?" if nearest else ""
            raise self.spec_error(
                f"task_params.level is {level!r:.60}; expected one of {', '.join(LEVELS)}.{hint}"
            )
        return level

    def _extra(self) -> dict[str, Any]:
        flow = self.task_ctx.get("flow")
        return {
            "action": "log_task",
            "flow_key": flow.key if flow is not None else None,
            "task_key": self.task.get("key"),
        }


TaskHandler = LogTaskHandler
