"""Actions on many flows: which are meant, one after the other, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from mc.errors import DatabaseUrlError, McError, SchemaVersionError, SelectionError, StoreUnreachableError
from mc.json_data import JsonData
from mc.runners.immediate_control import ControlReport
from mc.statuses import FINISHED_FLOW_STATUSES, FlowStatus
from mc.store.flow_selection import FlowSelection
from mc.store.reading.selected_flows import SelectedFlows
from mc.store.saving.flow_deleter import Deletion

__all__ = ["Act", "FlowOutcome", "ManyReport", "Rerun", "Tell", "act_on_each", "settle"]

_MOST_PROBLEMS: Final = 1_000  # that a report tells of

# The statuses of flows that an action concerns where flows are chosen by something else.
_CONCERNED: Final[Mapping[str, tuple[str, ...]]] = {
    "cancel": tuple(status for status in FlowStatus if status not in FINISHED_FLOW_STATUSES),
    "retry": ("FAILED",),
    "rerun": (),  # any
    "delete": tuple(sorted(FINISHED_FLOW_STATUSES)),
}
# These concern no flow any more, whatever is done.
_OF_THE_STORE: Final = (StoreUnreachableError, SchemaVersionError, DatabaseUrlError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun(JsonData):
    """A new flow that was made of the spec of another one.

    Attributes:
        key: of the new flow; None: it would be made, but for a dry run.
        of: key of the other one.
    """

    key: str | None
    of: str

    @property
    def done(self) -> bool:
        """Whether it was made."""
        return self.key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOutcome:
    """What became of an action on one of many flows.

    Attributes:
        key: of the flow.
        report: what the action on a single flow returns.
        error: what it raised instead.
    """

    key: str
    report: ControlReport | Rerun | Deletion | None = None
    error: McError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-safe data, or key and error."""
        if self.report is not None:
            return self.report.to_dict()
        assert self.error is not None
        return {"key": self.key, **self.error.to_dict()}


@dataclass(slots=True, kw_only=True)
class ManyReport(JsonData):
    """What became of an action on many flows.

    Attributes:
        flows: how many were tried.
        done: how many it was done to.
        left: how many it was not done to yet, because a runner holds them, or in a dry run.
        refused: how many it could not be done to.
        problems: the first thousand of these, each with its `error`.
    """

    flows: int = 0
    done: int = 0
    left: int = 0
    refused: int = 0
    problems: list[FlowOutcome] = field(default_factory=list)

    def add(self, outcome: FlowOutcome) -> None:
        """Count what became of one flow."""
        self.flows += 1
        if outcome.report is None:
            self.refused += 1
            if len(self.problems) < _MOST_PROBLEMS:
                self.problems.append(outcome)
        elif outcome.report.done:
            self.done += 1
        else:
            self.left += 1


Act = Callable[[str], ControlReport | Rerun | Deletion]
Tell = Callable[[FlowOutcome], object]


def settle(
    selection: FlowSelection, action: str, now: datetime, *, any_status: bool = False
) -> FlowSelection:
    """Return which flows an action concerns of those that are selected, as of a moment.

    Flows that are named are meant whatever they are. Where no status is chosen, they are those for which the
    action is made: `cancel` unfinished flows, `retry` FAILED ones, `delete` finished ones, `rerun` all.

    Args:
        selection: what was asked for.
        action: `cancel`, `retry`, `rerun` or `delete`.
        now: flows that are created or changed later are not meant.
        any_status: the action concerns flows of any status.

    Raises:
        SelectionError: neither keys nor filters are given, or times make no sense.
    """
    if selection.keys:
        return selection
    if not selection.has_filters:
        raise SelectionError(
            f"No flows to {action} are chosen. Give their keys, or what they have in common: a status, a "
            f"label, a prefix of their keys, or since or until when they were created."
        )
    if not selection.statuses and not any_status:
        selection = replace(selection, status=_CONCERNED[action])
    return selection.pin(now)


def act_on_each(selected: SelectedFlows, act: Act, tell: Tell | None = None) -> ManyReport:
    """Do something to each of many flows, and go on where it cannot be done to one.

    A flow that is not selected any more when its turn comes is left as it is.

    Args:
        selected: the flows.
        act: does it to the flow of that key.
        tell: is told at once what became of each.

    Raises:
        StoreUnreachableError: the database has gone away; to the flows of which was told it is done.
    """
    report = ManyReport()
    for key in selected.read_keys():
        if not selected.selection.keys and not selected.has(key):
            continue
        try:
            outcome = FlowOutcome(key=key, report=act(key))
        except _OF_THE_STORE:
            raise
        except McError as error:
            outcome = FlowOutcome(key=key, error=error)
        report.add(outcome)
        if tell is not None:
            tell(outcome)
    return report
