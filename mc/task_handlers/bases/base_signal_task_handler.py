"""The base class of task types that wait for a signal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from mc.durations import format_time, parse_duration
from mc.flows.services import graph_task_key
from mc.flows.signals.waits import accepts_by
from mc.flows.state.mailbox import Signal
from mc.task_handlers.base_task_handler import BaseTaskHandler

__all__ = ["BaseSignalTaskHandler"]


class BaseSignalTaskHandler(BaseTaskHandler):
    """Is WAITING until a signal comes, or `timeout` has passed.

    What it waits for stands in `task["waits_for"]`, by which the task is found when a signal is sent.
    """

    has_effects: ClassVar[bool] = False

    def find_signal_name(self, wait_id: str) -> str:
        """Return the name of the signal; also the place to refuse parameters."""
        raise TypeError(f"{type(self).__name__} must define find_signal_name.")

    def on_signal(self, signal: Signal) -> None:
        """Settle the task's status; the signal is taken afterwards."""
        raise TypeError(f"{type(self).__name__} must define on_signal.")

    def on_timeout(self) -> None:
        """Settle the task's status, or raise."""
        raise TypeError(f"{type(self).__name__} must define on_timeout.")

    def initial_tick(self) -> None:
        """Note what is waited for, and take a signal that is there already."""
        if "flow" not in self.task_ctx:
            raise self.spec_error("a task that waits for a signal is ticked in a flow, as task_ctx['flow']")
        now = self.task_ctx.now()
        wait_id = str(self.task_ctx.get("idempotency_key") or self.task.get("key"))
        timeout = self.read_param("timeout", object, None)
        until = None if timeout is None else format_time(now + timedelta(seconds=parse_duration(timeout)))
        self.task["waits_for"] = {
            "signal": self.find_signal_name(wait_id),
            "since": format_time(now),
            "until": until,
            "wait_id": wait_id,
        }
        self._settle()

    def intermediate_tick(self) -> None:
        """Take the signal if it is there."""
        self._settle()

    def _settle(self) -> None:
        waits_for: dict[str, Any] = self.task["waits_for"]
        nesting = self.task_ctx.services.nesting
        task_key = nesting.outermost_task_key or graph_task_key(self.task_ctx)
        mailbox = (nesting.outermost_flow or self.task_ctx.flow).mailbox
        wait_id, now = waits_for["wait_id"], format_time(self.task_ctx.now())
        signal = mailbox.find(waits_for["signal"], wait_id, accepts_by(self.task))
        if signal is not None:
            try:
                self.on_signal(signal)
            finally:
                del self.task["waits_for"]
                mailbox.take(signal, wait_id, task_key, now)
        elif waits_for["until"] is not None and waits_for["until"] <= now:
            del self.task["waits_for"]
            self.on_timeout()
        else:
            self.task["status"] = "WAITING"
            self.task["next_tick_at"] = waits_for["until"]
            if waits_for["until"] is None:
                del self.task["next_tick_at"]
