"""A note of a call that lasts: what others are told of it while it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mc.json_data import JsonData

__all__ = ["CallNote", "FindNotes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNote(JsonData):
    """A call that is under way, and who makes it."""

    task: str  # its path, `outer/inner` inside others
    task_type: str
    attempt: int
    since: datetime  # by the engine's clock
    owner: str  # the runner
    host: str
    pid: int  # of its process
    holds_others: bool = False  # it makes the calls of tasks inside of it, which have notes of their own

    def describe_runner(self) -> str:
        """Return who makes the call, in a phrase."""
        return f"{self.owner} on {self.host} (process {self.pid})"


FindNotes = Callable[[], Sequence[CallNote]]  # of one flow's calls, at the moment at which they are written
