"""A flow that a runner saw become FAILED or BLOCKED, as its report and the log tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, Self

from mc.json_data import JsonData
from mc.printable import printable

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["FlowFailure"]

_LONGEST_MESSAGE: Final = 300  # characters of the line for people


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFailure(JsonData):
    """Why a flow does not go on.

    Attributes:
        flow: its key.
        status: FAILED or BLOCKED.
        task: path of the first task that is the cause, `outer/inner` inside others; None: the flow itself.
        others: how many more tasks of the flow failed.
        type: of the error.
        message: of the error.
        place: file and line that the error came from, `/srv/tasks.py:12`, if that is known.
        command: what tells more.
    """

    flow: str
    status: str
    task: str | None = None
    others: int = 0
    type: str
    message: str
    place: str | None = None
    command: str

    @classmethod
    def of_failed(cls, flow: Flow) -> Self:
        """Return why a FAILED flow failed."""
        from mc.flows.calls.failed_task import failure_place, find_failed_task

        failed = find_failed_task(flow)
        task = "/".join(failed.path) or None
        return cls(
            flow=flow.key,
            status="FAILED",
            task=task,
            others=failed.others,
            type=str(failed.error.get("type", "TaskFailed")),
            message=str(failed.error.get("message", "no reason given")),
            place=failure_place(failed.error),
            command=f"houston show {quote(flow.key)}" + (f" --task {quote(task)}" if task else ""),
        )

    @classmethod
    def of_blocked(cls, key: str, error: Exception, reason: str, task: str | None = None) -> Self:
        """Return why a flow is BLOCKED."""
        command = f"houston explain {quote(key)}"
        kind = type(error).__name__
        return cls(flow=key, status="BLOCKED", task=task, type=kind, message=reason, command=command)

    def __str__(self) -> str:
        """Return one line for people."""
        others = f" and {self.others} more" if self.others else ""
        task = f" in task {self.task}{others}" if self.task else ""
        place = f" ({self.place})" if self.place else ""
        why = f"{self.type}: {printable(self.message, _LONGEST_MESSAGE)}"
        return printable(f"flow {self.flow} is {self.status}{task}: {why}{place}; see {self.command}")

    def to_extra(self, owner: str) -> dict[str, Any]:
        """Return what a record of the log has besides its text."""
        return {
            "action": f"flow_{self.status.lower()}",
            "flow_key": self.flow,
            "task_key": self.task,
            "error_type": self.type,
            "owner": owner,
        }
