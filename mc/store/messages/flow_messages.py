"""Messages that people and programs send to stored flows: signals, decisions, controls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from mc.clock import Clock
from mc.durations import format_time
from mc.flows.flow import Flow
from mc.store.database import Database
from mc.store.history.event_log import insert_events
from mc.store.leases.claims import family_of
from mc.store.rows.wakes import has_controls
from mc.store.saving.new_flow import draft_new_flow, insert_flows

if TYPE_CHECKING:
    from mc.flows.controls.control import Control

__all__ = ["FlowMessages"]


class FlowMessages:
    """Takes messages to the flows of a store; each is written in one transaction.

    Args:
        database: of the flows.
        clock: when they are sent.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def signal(
        self,
        key: str,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the senders' word
        by: str | None = None,
    ) -> bool:
        """Store a signal for a flow and make the flow due, in one transaction; see `Houston.signal`."""
        from mc.flows.signals.signal_rules import make_signal  # runners do without
        from mc.store.messages.sending import send_signal

        new = make_signal(name, data, format_time(self._clock.now()), id=id, by=by)
        return send_signal(self._database, key, new)

    def decide(self, key: str, task: str, *, approved: bool, by: str, comment: str | None = None) -> bool:
        """Store the decision on an approval and make the flow due; see `Houston.approve`."""
        from mc.flows.signals.signal_rules import check_size
        from mc.store.messages.sending import send_decision

        check_size(comment)
        now = format_time(self._clock.now())
        return self._database.write(
            lambda connection: send_decision(
                connection, key, task, approved=approved, by=by, comment=comment, now=now
            )
        )

    def control(self, key: str, control: Control) -> str:
        """Keep what a person asks of a flow and make the flow due, in one transaction.

        A runner does it when it claims the flow, before anything else; one that holds the flow at this
        moment lets go of it after the task under way. What was asked first is done first.

        Args:
            key: of the flow.
            control: what is asked; `at` is the present unless it is given.

        Returns:
            The number under which it is kept until it is done.

        Raises:
            ControlError: the flow's state does not allow it.
            FlowNotFoundError: there is no flow with that key.
        """
        from mc.store.rows.pending_controls import send_control

        asked = control if control.at else replace(control, at=format_time(self._clock.now()))
        return self._database.write(lambda connection: send_control(connection, key, asked))

    def try_control(self, key: str, control: Control) -> str:
        """Return the status of a flow of which this could be asked, or raise what `control` would."""
        from mc.store.rows.pending_controls import try_control

        return self._database.read(lambda connection: try_control(connection, key, control))

    def controlled(self, family: str) -> list[str]:
        """Return this flow and its stored sub-flows of which something is asked that was not done yet.

        A sub-flow that is to end with its flow is among them.

        Args:
            family: key of the flow.
        """
        from mc.store.rows.pending_controls import find_controlled

        query = family_of(family)
        return self._database.read(
            lambda connection: find_controlled(connection, connection.scalars(query).all())
        )

    def is_controlled(self, key: str) -> bool:
        """Tell whether something is asked of a flow that was not done yet."""
        return self._database.read(lambda connection: has_controls(connection, key))

    def create_again(self, flow: Flow, *, of: str, by: str, reason: str | None) -> None:
        """Store a new flow that was made from the spec of another one, and tell of it in the history of both.

        Raises:
            FlowExistsError: a flow with that key is stored.
        """
        from mc.store.rows.pending_controls import rerun_events

        now = self._clock.now()
        draft = draft_new_flow(flow, now)
        events = rerun_events(of, flow.key, by, reason, format_time(now))

        def write(connection: Connection) -> None:
            insert_flows(connection, [draft])
            insert_events(connection, events)

        self._database.write(write)
