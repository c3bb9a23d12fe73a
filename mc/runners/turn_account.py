"""Account of what turns came to: in the report, in the log, and in the store where a flow is stuck."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mc.errors import FlowNotFoundError, LeaseLostError, McError
from mc.runners.flow_failure import FlowFailure
from mc.runners.runner_report import RunnerReport
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.flow_store import FlowStore
from mc.store.history.tick_log import TickRecord
from mc.store.lease import Lease

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["TurnAccount"]

_logger = logging.getLogger(__name__)

_OUTCOMES: Final = {status: status.lower() for status in FINISHED_FLOW_STATUSES}


class TurnAccount:
    """What became of the flows that had a turn.

    Args:
        store: the flows.
        report: of the runner.
    """

    def __init__(self, store: FlowStore, report: RunnerReport) -> None:
        self._store = store
        self._report = report
        self._counted_tasks = 0
        self._outcomes: dict[str, str] = {}  # of one round: flow key -> field of the report
        self._failures: dict[str, FlowFailure] = {}  # of flows that are FAILED, and not saved as such yet

    @property
    def is_open(self) -> bool:
        """Whether turns have ended that were not counted yet."""
        return bool(self._outcomes)

    def keep_failure(self, lease: Lease, failure: FlowFailure) -> None:
        """Keep why a flow failed until it is saved as FAILED."""
        self._failures[lease.flow_key] = failure

    def settle(self, lease: Lease, outcome: str | Exception) -> None:
        """Note what became of a flow: the status with which it was saved, or why it was not."""
        failure = self._failures.pop(lease.flow_key, None)
        if isinstance(outcome, str):
            self._outcomes[lease.flow_key] = _OUTCOMES.get(outcome, "waiting")
            if failure is not None:
                self._report.add_failure(failure)
                _logger.error("%s", failure, extra=failure.to_extra(lease.owner))
        elif isinstance(outcome, LeaseLostError | FlowNotFoundError):
            self._outcomes[lease.flow_key] = "lost"
            about = {"action": "lease_lost", "flow_key": lease.flow_key, "owner": lease.owner}
            _logger.warning("%s", outcome, extra=about)
        else:
            self._block(lease, outcome)

    def note_blocked(self, lease: Lease, error: McError, flow: Flow) -> None:
        """Note that a flow was made BLOCKED because this process lacks a handler."""
        task = flow.missing_handlers[0]["task"] if flow.missing_handlers else None
        failure = FlowFailure.of_blocked(flow.key, error, flow.blocked_reason or error.message, task)
        self._note_error(failure, lease)

    def set_aside(self, lease: Lease, flow: Flow) -> None:
        """Leave a flow BLOCKED whose handlers this process lacks too; the next runner looks again later."""
        from mc.flows.formats.flow_rows import TRY_AGAIN_SECONDS

        later = self._store.clock.now() + timedelta(seconds=TRY_AGAIN_SECONDS)
        self._outcomes[lease.flow_key] = "waiting"
        _logger.info(
            "flow %s stays blocked: %s",
            lease.flow_key,
            flow.blocked_reason,
            extra={"action": "flow_set_aside", "flow_key": lease.flow_key, "owner": lease.owner},
        )
        try:
            self._store.set_aside(lease, later)
        except LeaseLostError as lost:
            _logger.warning("%s", lost, extra={"action": "lease_lost", "flow_key": lease.flow_key})

    def count(self, tick: TickRecord) -> None:
        """Count in the report, and in the tick, what turns came to that have ended since the last tick."""
        report = self._report
        report.claimed += len(self._outcomes)
        for outcome in self._outcomes.values():
            if outcome != "error":
                setattr(report, outcome, getattr(report, outcome) + 1)
        tick.flows += len(self._outcomes)
        tick.errors += sum(outcome == "error" for outcome in self._outcomes.values())
        tick.tasks += report.tasks - self._counted_tasks
        self._outcomes, self._counted_tasks = {}, report.tasks

    def _block(self, lease: Lease, error: Exception) -> None:
        reason = f"It could not be ticked or saved: {type(error).__name__}: {error}"
        self._note_error(FlowFailure.of_blocked(lease.flow_key, error, reason), lease, error)
        try:
            self._store.block(lease, reason)
        except LeaseLostError as lost:
            _logger.warning("%s", lost, extra={"action": "lease_lost", "flow_key": lease.flow_key})

    def _note_error(self, failure: FlowFailure, lease: Lease, error: Exception | None = None) -> None:
        self._outcomes[lease.flow_key] = "error"
        self._report.errors.append(failure.to_dict())
        _logger.error("%s", failure, exc_info=error, extra=failure.to_extra(lease.owner))
