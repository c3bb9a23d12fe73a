"""The base class of task types that let another task do the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mc.context.late_dict import LateDict
from mc.durations import format_time
from mc.flows.calls.attempts import keep_proxied_attempts
from mc.flows.calls.task_call import Calls
from mc.flows.resources.requests import was_refused
from mc.statuses import FINISHED_TASK_STATUSES
from mc.task_handlers.base_task_handler import BaseTaskHandler
from mc.task_handlers.bases.base_sub_flow_task_handler import drop_sub_flow
from mc.task_handlers.bases.proxied_task import (
    cancel_proxied_task,
    due_time,
    new_proxied_task,
    tick_proxied_task,
)

__all__ = ["BaseProxyingTaskHandler"]


class BaseProxyingTaskHandler(BaseTaskHandler):
    """Makes a task, the proxied one, and ticks it in the outer task's place until it is finished.

    The proxied task stands in `task["proxied_task"]`. Its references are resolved when it starts, in
    the outer task's flow; its own `cfg` (`retry`, `timeout`, `when`, `allow_failure`) is kept to.
    """

    has_effects: ClassVar[bool] = False  # the proxied task tells

    def generate_proxied_task(self) -> Mapping[str, Any]:
        """Return the spec of the task to proxy; its `key` may be left out."""
        raise TypeError(f"{type(self).__name__} must define generate_proxied_task.")

    def on_proxied_task_finished(self) -> None:
        """Settle the outer task once `self.proxied_task` is COMPLETED, FAILED, SKIPPED or CANCELLED.

        By default its outcome becomes the outer task's: data, status, error, and whether it may fail. A
        handler that leaves the outer task RUNNING and puts another spec through `proxy` goes on.
        """
        proxied = self.proxied_task
        if proxied["status"] == "COMPLETED":
            left = proxied["data"]
            if isinstance(left, LateDict):
                self.task["data"], left = left.over(self.data), {}
            self.complete(**left)
            return
        self.task["status"] = proxied["status"]
        if proxied["status"] == "FAILED":
            self.task["error"] = proxied["error"]
            if (proxied.get("cfg") or {}).get("allow_failure"):
                self.task_ctx.allow_failure()

    @property
    def proxied_task(self) -> dict[str, Any]:
        """The task dict of the proxied task."""
        proxied: dict[str, Any] = self.task["proxied_task"]
        return proxied

    def proxy(self, task_spec: Mapping[str, Any]) -> None:
        """Make a task the proxied one; it starts when the outer task is ticked next."""
        self.task["proxied_task"] = new_proxied_task(self, task_spec)
        self.task_ctx.report.progressed = True

    def initial_tick(self) -> Calls:
        """Make the proxied task and tick it."""
        if "proxied_task" not in self.task:  # it is there where a first tick was saved halfway
            self.proxy(self.generate_proxied_task())
        return self.intermediate_tick()

    def intermediate_tick(self) -> Calls:
        """Tick the proxied task."""
        proxied = self.proxied_task
        self.task.pop("next_tick_at", None)
        yield from tick_proxied_task(proxied, self.task_ctx)
        if proxied["status"] in FINISHED_TASK_STATUSES:
            self._keep_attempts()
            self.on_proxied_task_finished()
            if self.task["status"] in FINISHED_TASK_STATUSES:
                self.task.pop("proxied_task", None)
                self._keep(proxied)
                if "sub_flow" in proxied:
                    self.task["sub_flow"] = proxied["sub_flow"]  # what it ran, for those who look at it
        elif proxied["status"] == "WAITING" or proxied.get("next_tick_at") or was_refused(proxied):
            self.wait_until(due_time(proxied))

    def _keep_attempts(self) -> None:
        keep_proxied_attempts(self.task, self.proxied_task, format_time(self.task_ctx.now()))

    def cancel(self) -> None:
        """Stop what the proxied task started elsewhere."""
        if "proxied_task" in self.task:
            self._keep_attempts()
        proxied = self.task.pop("proxied_task", None)
        if proxied is not None:
            cancel_proxied_task(proxied, self.task_ctx)
            drop_sub_flow(self.task_ctx, proxied)
            self._keep(proxied)

    def _keep(self, proxied: dict[str, Any]) -> None:
        """Keep what was done inside the proxied task, for a person's retry."""
        if "kept" in proxied and proxied["status"] in ("FAILED", "CANCELLED"):
            self.task["kept"] = {"proxied_task": proxied}
