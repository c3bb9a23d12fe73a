"""The task type `approval`: waits for a signed yes or no."""

from __future__ import annotations

from typing import Any

from mc.durations import format_time
from mc.flows.signals.signal_rules import approval_signal_name
from mc.flows.state.mailbox import Signal
from mc.spec.names import is_name
from mc.task_handlers.bases.base_signal_task_handler import BaseSignalTaskHandler

__all__ = ["ApprovalTaskHandler", "TaskHandler"]


class ApprovalTaskHandler(BaseSignalTaskHandler):
    """Leaves `approved`, `by`, `at` and `comment`; a no fails the task unless `on_reject` says otherwise."""

    def find_signal_name(self, wait_id: str) -> str:
        """Return a name that only this attempt waits for, after a look at the parameters."""
        approvers = self.read_param("approvers", list, None)
        if approvers is not None:
            if not approvers or not all(is_name(who) for who in approvers):
                raise self.spec_error(
                    "task_params.approvers must name who may decide, in texts that are not empty; without "
                    "it, everybody may"
                )
        if self.read_param("on_reject", str, "fail") not in ("fail", "complete"):
            raise self.spec_error("task_params.on_reject must be fail or complete")
        self.read_param("default", bool, None)
        return approval_signal_name(wait_id)

    def on_signal(self, signal: Signal) -> None:
        """Settle by what was decided."""
        self._decide(signal.data["approved"], signal.sent_by, signal.sent_at, signal.data["comment"])

    def on_timeout(self) -> None:
        """Settle by `default`, or fail."""
        default = self.read_param("default", bool, None)
        if default is None:
            raise TimeoutError(f"Nobody approved or rejected within the timeout ({self.params['timeout']}).")
        self._decide(default, None, format_time(self.task_ctx.now()), None)

    def _decide(self, approved: bool, by: str | None, at: str, comment: str | None) -> None:
        outcome: dict[str, Any] = {"approved": approved, "by": by, "at": at, "comment": comment}
        if approved or self.read_param("on_reject", str, "fail") == "complete":
            self.complete(**outcome)
            return
        self.data.update(outcome)
        reason = f": {comment}" if comment else ""
        who = f"by {by}" if by is not None else "by its default, at the timeout"
        self.task["error"] = {"type": "Rejected", "message": f"Rejected {who}{reason}"}
        self.task["status"] = "FAILED"


TaskHandler = ApprovalTaskHandler
