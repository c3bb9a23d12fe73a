"""The store: flows in a SQL database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, select

from mc.clock import Clock, SystemClock
from mc.durations import format_time, parse_time
from mc.errors import FlowNotFoundError, LeaseLostError, McError, StaleFlowError, StoreError
from mc.flows.flow import Flow
from mc.store import leases
from mc.store.database import BUSY_SECONDS, Database
from mc.store.flow_deleter import delete_flow
from mc.store.flow_reader import flow_of, read_flows, read_summaries, summary_query
from mc.store.flow_statements import save_statement
from mc.store.flow_summary import FlowSummary
from mc.store.flow_writer import (
    FlowDraft,
    NewFlow,
    draft_new_flow,
    draft_save,
    insert_flows,
    update_flow,
)
from mc.store.lease import DEFAULT_LEASE_SECONDS, Lease, Wake
from mc.store.outbox import Outbox
from mc.store.row_format import StoredState
from mc.store.tables import flow as flow_table
from mc.store.wakes import CANCEL, add_wake

__all__ = ["FlowStore", "FlowSummary"]


class FlowStore:
    """Keeps flows in a SQL database.

    The database is opened, and its tables are made, when it is first used. A store may be used by several
    threads; each process makes its own. Every method is one transaction, or none if it only reads: it
    is done whole or not at all, and what was done survives the end of the process.

    Args:
        url: `sqlite:///path/to/file`, `sqlite:////absolute/path`, or `sqlite://` for a database in memory
            that lives as long as this object.
        clock: for all times but those of leases, which go by the database's clock; the machine's
            clock unless given.
        busy_seconds: how long a transaction waits for other writers.

    Raises:
        StoreUnreachableError: the URL is none, or names a kind of database that is not supported.
    """

    def __init__(
        self,
        url: str = "sqlite:///mc.sqlite3",
        *,
        clock: Clock | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._database = Database(url, self.clock, busy_seconds)
        self._states: WeakKeyDictionary[Flow, StoredState] = WeakKeyDictionary()

    @property
    def url(self) -> str:
        """The database's URL for people, without password."""
        return self._database.shown_url

    def close(self) -> None:
        """Close all connections; a database in memory is gone with them."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FlowStore({self.url!r})"

    # --- flows -----------------------------------------------------------------------------

    def create(self, flow: Flow) -> None:
        """Store a new flow.

        Args:
            flow: it may have begun already, as an imported one has. It can be saved afterwards.

        Raises:
            FlowExistsError: a flow with that key is stored.
            NotJsonError: JSON cannot hold a part of it; the message names the place.
            StoreError: a key has more than 255 characters, or the database refused.
        """
        self.create_many([flow])

    def create_many(self, flows: Iterable[Flow]) -> None:
        """Store new flows, all or none; see `create`."""
        now = self.clock.now()
        drafts = [draft_new_flow(flow, now) for flow in flows]
        if drafts:
            self._database.write(lambda connection: insert_flows(connection, drafts))
            self._remember(drafts)

    def load(self, key: str) -> Flow:
        """Return a stored flow.

        Raises:
            FlowNotFoundError: there is none with that key.
            StoreError: its rows cannot be read.
        """
        found = self.load_many([key])[key]
        if isinstance(found, McError):
            raise found
        return found

    def load_many(self, keys: Sequence[str]) -> dict[str, Flow | McError]:
        """Return stored flows by key as they stood at one moment; in the place of an unreadable one, why."""
        rows = self._database.read(lambda connection: read_flows(connection, keys))
        found: dict[str, Flow | McError] = {}
        for key in keys:
            if key not in rows:
                found[key] = FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
                continue
            try:
                flow, self._states[flow] = flow_of(rows[key])
            except StoreError as error:
                found[key] = error
            else:
                found[key] = flow
        return found

    def save(
        self,
        flow: Flow,
        *,
        lease: Lease | None = None,
        release: bool = False,
        keep_lost_leases: bool = False,
        outbox: Outbox | None = None,
    ) -> None:
        """Write what changed in a flow since it was loaded, created or saved last.

        When the save ends the flow, the flow whose task waits for it becomes due in the same transaction.

        Args:
            flow: loaded from this store or created in it.
            lease: the claim under which it was ticked. Without one, the save is done only if nobody saved
                the flow since it was read and no driver holds it.
            release: give the lease back in the same transaction.
            keep_lost_leases: leave the count of drivers that vanished as it is, because nothing shows yet
                that the flow lets this one live.
            outbox: what else belongs into the transaction.

        Raises:
            LeaseLostError: another driver took the flow over; nothing was saved.
            StaleFlowError: somebody else saved the flow since it was read, or a driver holds it; nothing was
                saved.
            FlowNotFoundError: the flow is not stored (any more).
            NotJsonError: JSON cannot hold a part of it; the message names the place.
            StatusError: a status was written into a task dict that is not allowed.
        """
        state = self._state_of(flow)
        outbox = outbox or Outbox()
        now = self.clock.now()
        draft = draft_save(flow, state, now)
        started = [draft_new_flow(child, now, waiter_key=flow.key) for child in outbox.started.values()]
        statement = save_statement(
            leased=lease is not None,
            release=release,
            keep_lost_leases=keep_lost_leases,
            dialect=self._database.dialect,
        )
        known = lease.token if lease is not None else state.revision

        def write(connection: Connection) -> None:
            if not update_flow(connection, statement, draft, known, outbox.acted_upon):
                raise self._refusal(connection, draft, lease)
            if started:
                insert_flows(connection, started)
            for key, reason in outbox.cancelled.items():
                wake = Wake(kind=CANCEL, source_key=flow.key, reason=reason)
                add_wake(connection, key, wake, format_time(now))

        self._database.write(write)
        draft.mark_saved()
        outbox.clear()

    def delete(self, key: str) -> list[str]:
        """Delete a flow with its stored sub-flows and all that belongs to them.

        Returns:
            The keys of the flows that were deleted.

        Raises:
            FlowNotFoundError: there is none with that key.
            StoreError: a driver holds one of them; nothing was deleted.
        """
        now = format_time(self.clock.now())
        return self._database.write(
            lambda connection: delete_flow(connection, self._database.dialect, key, now)
        )

    def query(
        self,
        *,
        status: str | Iterable[str] | None = None,
        label: str | None = None,
        limit: int | None = None,
    ) -> list[FlowSummary]:
        """Return flows at a glance, newest first.

        Args:
            status: one flow status or several.
            label: exactly this label.
            limit: at most so many.

        Raises:
            StoreError: a status is none, or the limit is negative.
        """
        query = summary_query(status, label, limit)
        return self._database.read(lambda connection: read_summaries(connection, query))

    def summary(self, key: str) -> FlowSummary:
        """Return one flow at a glance.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        query = summary_query(None, None, None).where(flow_table.c.key == key)
        found = self._database.read(lambda connection: read_summaries(connection, query))
        if not found:
            raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
        return found[0]

    # --- leases ----------------------------------------------------------------------------

    def claim(
        self,
        *,
        owner: str,
        limit: int = 1,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        keys: Sequence[str] | None = None,
        family_of: str | None = None,
        due_at: datetime | None = None,
        skip: Collection[str] = (),
    ) -> list[Lease]:
        """Claim flows that are due and that no driver holds: by priority, then those due longest.

        No two claims get the same flow, whatever happens at the same time. A lease that ran out is taken
        over; the flow whose drivers vanished is claimed alone, and after three in a row it becomes BLOCKED
        instead, its `blocked_reason` naming the tasks.

        Args:
            owner: who claims, for people.
            limit: at most so many.
            lease_seconds: how long the claim lasts unless it is renewed.
            keys: only among these flows.
            family_of: only this flow and its stored sub-flows.
            due_at: what is due then; now unless given.
            skip: none of these flows.

        Returns:
            The leases, empty if nothing is due.
        """
        if limit < 1:
            return []
        now = self.clock.now()
        among = []
        if keys is not None:
            among.append(flow_table.c.key.in_(keys))
        if family_of is not None:
            among.append(flow_table.c.key.in_(leases.family_of(family_of)))
        if skip:
            among.append(flow_table.c.key.not_in(skip))
        return self._database.write(
            lambda connection: leases.claim(
                connection,
                self._database.dialect,
                owner=owner[:255],
                limit=limit,
                seconds=lease_seconds,
                due_at=format_time(due_at or now),
                now=format_time(now),
                among=among,
            )
        )

    def renew(self, lease: Lease) -> Lease:
        """Return the lease, prolonged by its length from now on.

        Raises:
            LeaseLostError: another driver took the flow over, or the lease was given back.
        """
        expires_at = self._database.write(
            lambda connection: leases.renew(connection, self._database.dialect, lease)
        )
        if expires_at is None:
            raise _lease_lost(lease)
        return replace(lease, expires_at=expires_at)

    def release(self, *held: Lease) -> None:
        """Give leases back without saving; those that were taken over are left alone."""
        self._database.write(lambda connection: leases.release(connection, held))

    def block(self, lease: Lease, reason: str) -> None:
        """Make a flow that cannot be ticked BLOCKED, and give its lease back.

        Raises:
            LeaseLostError: another driver took the flow over.
        """
        now = format_time(self.clock.now())
        if not self._database.write(lambda connection: leases.block(connection, lease, reason, now)):
            raise _lease_lost(lease)

    def next_due_at(self, family_of: str | None = None) -> datetime | None:
        """Return when the next flow is due that no driver holds; None if time alone makes none due.

        Args:
            family_of: only this flow and its stored sub-flows.
        """
        query = leases.next_due_query(self._database.dialect, family_of)
        text: str | None = self._database.read(lambda connection: connection.scalar(query))
        return parse_time(text) if text else None

    def is_held(self, family_of: str) -> bool:
        """Tell whether a driver holds this flow or a stored sub-flow of it."""
        query = leases.held_query(self._database.dialect, family_of)
        return self._database.read(lambda connection: connection.scalar(query)) is not None

    def wakes(self, flow: Flow) -> tuple[Wake, ...]:
        """Return what had happened elsewhere for a flow when it was loaded."""
        return self._state_of(flow).wakes

    # --- inside ----------------------------------------------------------------------------

    def _state_of(self, flow: Flow) -> StoredState:
        state = self._states.get(flow)
        if state is None:
            raise StoreError(
                f"Flow {flow.key!r} was neither loaded from this store nor created in it. Load or create it.",
                key=flow.key,
            )
        return state

    def _remember(self, drafts: Iterable[NewFlow]) -> None:
        for new in drafts:
            new.draft.mark_saved()
            self._states[new.draft.flow] = new.draft.state

    def _refusal(self, connection: Connection, draft: FlowDraft, lease: Lease | None) -> StoreError:
        key = draft.flow.key
        if lease is not None:
            return _lease_lost(lease)
        columns = (flow_table.c.revision, flow_table.c.lease_owner)
        row = connection.execute(select(*columns).where(flow_table.c.key == key)).one_or_none()
        if row is None:
            return FlowNotFoundError(f"Flow {key!r} is not stored any more; nothing was saved.", key=key)
        if row.revision == draft.state.revision:
            return StaleFlowError(
                f"Flow {key!r} is being ticked by {row.lease_owner}; nothing was saved. Load it again when "
                f"that driver has let go of it.",
                key=key,
                owner=row.lease_owner,
            )
        return StaleFlowError(
            f"Flow {key!r} was saved by somebody else since it was loaded (revision {row.revision}, loaded "
            f"was {draft.state.revision}); nothing was saved. Load it again and repeat the change.",
            key=key,
        )


def _lease_lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(
        f"The lease of {lease.owner} on flow {lease.flow_key!r} (token {lease.token}) was taken over or "
        f"given back; nothing was saved. Another driver goes on with the flow.",
        key=lease.flow_key,
        token=lease.token,
    )
