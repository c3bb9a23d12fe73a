"""The task types of `custom_type.json`."""

from __future__ import annotations

from mc.flows.handlers.handler_registry import task_handler
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["Countdown", "mean"]


@task_handler("mean", has_effects=False)
def mean(values: list[float]) -> dict[str, float]:
    """Leave the mean of `values` in the task's data."""
    return {"mean": sum(values) / len(values)}


class Countdown(BaseTaskHandler):
    """Counts down from `start`, one number per tick; what it must remember is in the task's data."""

    has_effects = False

    def initial_tick(self) -> None:
        self.data["counted"] = [self.params["start"]]

    def intermediate_tick(self) -> None:
        counted = self.data["counted"]
        counted.append(counted[-1] - 1)
        if counted[-1] == 0:
            self.complete()
