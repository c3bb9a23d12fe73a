"""The pace of loops over ticks: whether to tick again, and how long to wait before."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from mc.clock import Clock
from mc.errors import FlowError, MaxTicksError
from mc.flows.tick_report import TickReport

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.flows.services import EngineServices

__all__ = ["Pacer", "RunPace", "max_ticks_error", "raise_if_failed"]

_FIRST_PAUSE: Final = 0.001  # seconds between ticks that find nothing but tasks to poll; doubled up to
_LONGEST_PAUSE: Final = 0.25


class Pacer:
    """Decides how long to wait for the next tick: until something is due, or, to poll, longer each time.

    Args:
        clock: by which ticks are due.
        shortest: seconds between a tick that made progress and the next one.
    """

    def __init__(self, clock: Clock, shortest: float = 0.0) -> None:
        self._clock = clock
        self._shortest = shortest
        self._pause = _FIRST_PAUSE

    def pause(self, due_at: datetime, *, progressed: bool) -> float:
        """Return the seconds to wait.

        Args:
            due_at: when the next tick can do something.
            progressed: whether the last tick did anything but poll.
        """
        if progressed:
            self._pause = _FIRST_PAUSE
        seconds = (due_at - self._clock.now()).total_seconds()
        if seconds > 0 or progressed:
            return max(seconds, self._shortest)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return self._pause


class RunPace:
    """Decides, for `FlowEngine.run_flow`, whether to tick again and how long to wait before."""

    def __init__(self, engine: EngineServices, flow: Flow, max_ticks: int | None) -> None:
        self._pacer = Pacer(engine.clock)
        self._flow = flow
        self._left = max_ticks
        self._max_ticks = max_ticks
        self._waits_for_outside = False

    def may_tick(self) -> bool:
        """Tell whether the flow needs another tick.

        Raises:
            FlowError: the flow ended FAILED.
            MaxTicksError: it needs one, but all were made.
        """
        flow = self._flow
        raise_if_failed(flow)
        if flow.status not in ("PENDING", "RUNNING") or self._waits_for_outside:
            return False
        if self._left is not None:
            if self._left <= 0:
                raise max_ticks_error(flow, self._max_ticks or 0)
            self._left -= 1
        return True

    def pause_after(self, report: TickReport) -> float:
        """Return the seconds to sleep before the next tick."""
        flow = self._flow
        if flow.status != "RUNNING":
            return 0.0
        if report.next_tick_at is None:
            self._waits_for_outside = True
            return 0.0
        return self._pacer.pause(report.next_tick_at, progressed=report.progressed)


def raise_if_failed(flow: Flow) -> None:
    """Raise `FlowError` for a FAILED flow."""
    if flow.status == "FAILED":
        raise FlowError(f"Flow {flow.key!r} failed: {flow.describe_failure()}", flow=flow)


def max_ticks_error(flow: Flow, max_ticks: int) -> MaxTicksError:
    """Return the error for a flow that was unfinished after so many ticks."""
    nodes = flow.state.tasks.nodes.values()
    left = [node for node in nodes if node.status in ("PENDING", "RUNNING", "WAITING")]
    unfinished = [node.key for node in left]
    shown = ", ".join(f"{node.key} ({node.status})" for node in left[:10])
    more = f" and {len(unfinished) - 10} more" if len(unfinished) > 10 else ""
    return MaxTicksError(
        f"Flow {flow.key!r} was unfinished after {max_ticks} ticks: {shown}{more}. Raise max_ticks, or look "
        f"why these tasks do not finish.",
        flow=flow,
        unfinished=unfinished,
        max_ticks=max_ticks,
    )
