"""The store: flows in a SQL database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, select

from mc.clock import Clock, SystemClock
from mc.context.gc_pause import gc_paused
from mc.durations import format_time, parse_time
from mc.errors import DurationError, FlowNotFoundError, McError
from mc.printable import printable
from mc.store.database import BUSY_SECONDS, Database
from mc.store.databases.held_transaction import HeldTransaction
from mc.store.databases.kinds import DEFAULT_URL, FILE_MODE
from mc.store.flow_selection import FlowSelection
from mc.store.flow_summary import FlowSummary
from mc.store.history.tick_log import TickLog, TickRecord, begin_tick
from mc.store.lease import DEFAULT_LEASE_SECONDS, Lease, LostCalls
from mc.store.leases import claims, held_leases
from mc.store.leases.refusals import lease_lost
from mc.store.schema.tables import flow as flow_table
from mc.store.schema.tables import job

if TYPE_CHECKING:
    from mc.flows.calls.call_note import FindNotes
    from mc.flows.flow import Flow
    from mc.store.history.flow_history import FlowHistory
    from mc.store.job_store import JobStore
    from mc.store.messages.flow_messages import FlowMessages
    from mc.store.reading.flow_loader import FlowLoader
    from mc.store.reading.selected_flows import SelectedFlows
    from mc.store.resource_store import ResourceStore
    from mc.store.saving.flow_saver import FinalSave, FlowSaver, Outbox
    from mc.store.stored_state import StoredState
    from mc.store.upkeep.store_upkeep import StoreUpkeep

__all__ = ["PARTIAL_FROM", "FlowStore", "FlowSummary"]

# Tasks. A smaller flow is read whole, together with others, sooner than in parts.
PARTIAL_FROM: Final = 500

_logger = logging.getLogger(__name__)


class FlowStore:
    """Keeps flows in a SQL database, for those who make and tick them.

    What people and programs ask of flows that are stored is in `messages`, what became of them in `history`,
    what runners did in `ticks`, named resources in `resources`; `upkeep` removes what is old.

    The database is opened, and its tables are made, when it is first used. A store may be used by several
    threads; each process makes its own. Every method is one transaction, or none if it only reads: it
    is done whole or not at all, and what was done survives the end of the process.

    Args:
        url: `sqlite:///path/to/file`, `sqlite:////absolute/path`, or `sqlite://` for a database in memory
            that lives as long as this object.
        clock: for all times but those of leases, which go by the database's clock; the machine's
            clock unless given.
        busy_seconds: how long a transaction waits for other writers.
        partial_from: a runner reads a flow of so many tasks, or more, as far as its ticks need it.
        file_mode: permissions of SQLite files that are made; None: as the process's umask has it.
        read_result: returns a large result that is kept in a file, by its reference.

    Raises:
        StoreUnreachableError: the URL is none, or names a kind of database that is not supported.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        clock: Clock | None = None,
        busy_seconds: float = BUSY_SECONDS,
        partial_from: int = PARTIAL_FROM,
        file_mode: int | None = FILE_MODE,
        read_result: Callable[[str], Any] | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._database = Database(url, self.clock, busy_seconds, file_mode=file_mode)
        self._states: WeakKeyDictionary[Flow, StoredState] = WeakKeyDictionary()
        self._seen = claims.Recollection()
        self._turn: int | None = None  # of claims that are part of no tick
        self._partial_from = partial_from
        self.read_result = read_result or _refuse_results

    @cached_property
    def resources(self) -> ResourceStore:
        """The named resources, and who holds them."""
        from mc.store.resource_store import ResourceStore

        return ResourceStore(self._database, self._now, self._states)

    @cached_property
    def jobs(self) -> JobStore:
        """Work that is done outside of ticks."""
        from mc.store.job_store import JobStore

        return JobStore(self._database, self._now)

    @cached_property
    def history(self) -> FlowHistory:
        """What happened to flows."""
        from mc.store.history.flow_history import FlowHistory

        return FlowHistory(self._database)

    @cached_property
    def messages(self) -> FlowMessages:
        """What people and programs send to flows."""
        from mc.store.messages.flow_messages import FlowMessages

        return FlowMessages(self._database, self.clock)

    @cached_property
    def ticks(self) -> TickLog:
        """What runners did."""
        return TickLog(self._database, self.clock)

    @cached_property
    def upkeep(self) -> StoreUpkeep:
        """What is removed because it is old, or not wanted."""
        from mc.store.upkeep.store_upkeep import StoreUpkeep

        return StoreUpkeep(self._database, self.clock)

    @property
    def url(self) -> str:
        """The database's URL for people, without password."""
        return self._database.shown_url

    def keep_connections(self, number: int) -> None:
        """Keep so many connections to a server open once they were needed; ten more may be in use."""
        self._database.keep_connections(number)

    def close(self) -> None:
        """Close all connections; a database in memory is gone with them."""
        self._database.close()
        self._seen.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FlowStore({self.url!r})"

    @cached_property
    def _saver(self) -> FlowSaver:
        from mc.store.saving.flow_saver import FlowSaver

        return FlowSaver(self._database, self._now, self._states, self._seen)

    @cached_property
    def _loader(self) -> FlowLoader:
        from mc.store.reading.flow_loader import FlowLoader

        return FlowLoader(self._database, self._states, self._partial_from, self.read_result)

    def create(self, flow: Flow) -> None:
        """Store a new flow.

        Args:
            flow: it may have begun already, as an imported one has. It can be saved afterwards.

        Raises:
            FlowExistsError: a flow with that key is stored.
            NotJsonError: JSON cannot hold a part of it; the message names the place.
            FlowFormatError: it had begun, and waits for a stored sub-flow, which would not tell it.
            FlowFormatError: a key or the label is none that every database can keep.
            StoreError: the database refused.
        """
        self.create_many([flow])

    def create_many(self, flows: Iterable[Flow]) -> None:
        """Store new flows, all or none; see `create`."""
        from mc.store.saving.new_flow import draft_new_flow, insert_flows

        now = self.clock.now()
        with gc_paused():
            drafts = [draft_new_flow(flow, now) for flow in flows]
        if drafts:
            self._database.write(lambda connection: insert_flows(connection, drafts))
            for new in drafts:
                new.draft.mark_saved()
                self._states[new.draft.flow] = new.draft.state

    def load(self, key: str) -> Flow:
        """Return a stored flow.

        Raises:
            FlowNotFoundError: there is none with that key.
            StoreError: its rows cannot be read.
        """
        return self._loader.load(key)

    def load_claimed(self, claimed: Sequence[Lease]) -> dict[str, Flow | McError]:
        """Return claimed flows by key, for a runner to tick; in the place of an unreadable one, why.

        Of a flow with many tasks only those are read with which a tick begins: what runs, waits or may
        start. The others, and the flows inside of tasks, are read when something asks for them, as long as
        the lease is held.
        """
        return self._loader.load_claimed(claimed)

    def state_of(self, flow: Flow) -> StoredState:
        """Return what is stored of a flow that was loaded from this store or created in it.

        Raises:
            StoreError: it was not.
        """
        return self._saver.state_of(flow)

    def save(
        self,
        flow: Flow,
        *,
        lease: Lease | None = None,
        release: bool = False,
        keep_lost_leases: bool = False,
        lost_calls: LostCalls | None = None,
        outbox: Outbox | None = None,
        within: HeldTransaction | None = None,
        note: FindNotes | None = None,
    ) -> None:
        """Write what changed in a flow since it was loaded, created or saved last.

        When the save ends the flow, the flow whose task waits for it becomes due in the same transaction.

        Args:
            flow: loaded from this store or created in it.
            lease: the claim under which it was ticked. Without one, the save is done only if nobody saved
                the flow since it was read and no runner holds it.
            release: give the lease back in the same transaction.
            keep_lost_leases: leave the count of runners that vanished as it is, because nothing shows yet
                that the flow lets this one live.
            lost_calls: in which calls runners ended, and which are under way, where that is to be known if
                this runner ends as well.
            outbox: what else belongs into the transaction.
            within: what `hold` returned, committed with the save; one of its own unless given.
            note: returns what is left of the note of calls that last; asked in the transaction. The note
                stays as it is unless this is given; it goes with the lease.

        Raises:
            LeaseLostError: another runner took the flow over; nothing was saved. What would have been is kept
                in the flow's history, as evidence.
            StaleFlowError: somebody else saved the flow since it was read, or a runner holds it; nothing was
                saved.
            FlowNotFoundError: the flow is not stored (any more).
            NotJsonError: JSON cannot hold a part of it; the message names the place.
            StatusError: a status was written into a task dict that is not allowed.
            FlowExistsError: the key of a sub-flow in the outbox is taken; nothing was saved. Of an error that
                a sub-flow in the outbox causes, `details["sub_flow"]` is its key.
        """
        self._saver.save(
            flow,
            lease=lease,
            release=release,
            keep_lost_leases=keep_lost_leases,
            lost_calls=lost_calls,
            outbox=outbox,
            within=within,
            note=note,
        )

    def save_many(self, saves: Sequence[FinalSave]) -> dict[str, McError]:
        """Save flows and give their leases back, as many in one transaction as can be; see `save`.

        Returns:
            Errors by flow key. The flows without one are saved, whatever is wrong with others.

        Raises:
            StoreError: the database refused; some of the flows may be saved.
        """
        return self._saver.save_many(saves)

    def select(self, selection: FlowSelection) -> SelectedFlows:
        """Return the flows that a selection means at this moment.

        Raises:
            SelectionError: its times make no sense.
        """
        from mc.store.reading.selected_flows import SelectedFlows  # runners do without

        return SelectedFlows(self._database, selection.resolve(self.clock.now()))

    def query(
        self,
        *,
        status: str | Iterable[str] | None = None,
        label: str | None = None,
        limit: int | None = None,
    ) -> list[FlowSummary]:
        """Return flows, stored sub-flows too, at a glance, newest first; see `FlowSelection`."""
        return [*self.select(FlowSelection(status=status, label=label, sub_flows=True)).read(limit)]

    def summary(self, key: str) -> FlowSummary:
        """Return one flow at a glance.

        Raises:
            FlowNotFoundError: there is none with that key.
        """
        for summary in self.select(FlowSelection(keys=[key])).read(1):
            return summary
        raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)

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
        tick: TickRecord | None = None,
    ) -> list[Lease]:
        """Claim flows that are due and that no runner holds: by priority, then those due longest.

        No two claims get the same flow, whatever happens at the same time. A lease that ran out is taken
        over; the flow whose runners vanished is claimed alone and after the others, and when three in a row
        did while they made the same call it becomes BLOCKED instead, its `blocked_reason` naming the task.

        Args:
            owner: who claims, for people.
            limit: at most so many.
            lease_seconds: how long the claim lasts unless it is renewed.
            keys: only among these flows.
            family_of: only this flow and its stored sub-flows.
            due_at: what is due then; now unless given.
            skip: none of these flows.
            tick: what the claim is part of; noted with the first flow that is claimed for it.

        Returns:
            The leases, empty if nothing is due.

        Raises:
            SchemaVersionError: newer code has changed the tables since this store was opened.
            StoreReplacedError: a backup was restored since this store was opened.
        """
        if limit < 1:
            return []
        now = self.clock.now()
        among = [] if keys is None else [flow_table.c.key.in_(keys)]
        if family_of is not None:
            among.append(flow_table.c.key.in_(claims.family_of(family_of)))
        if skip:
            among.append(flow_table.c.key.not_in(skip))

        turn = tick.turn if tick is not None else self._turn

        def work(connection: Connection) -> claims.Claimed:
            claimed = claims.claim(
                connection,
                self._database.dialect,
                owner=owner[:255],
                limit=limit,
                seconds=lease_seconds,
                due_at=format_time(due_at or now),
                now=format_time(now),
                seen=self._seen,
                epoch=self._database.epoch,
                turn=turn,
                among=among,
            )
            if claimed.leases and tick is not None and not tick.is_stored:
                begin_tick(connection, replace(tick, turn=claimed.turn))
                tick.was_sent = True
            return claimed

        found, turn, blocked = self._database.write(work)
        for key, reason in blocked.items():
            about = {"action": "flow_blocked", "flow_key": key, "owner": owner}
            _logger.error("flow %s is BLOCKED: %s", printable(key), printable(reason), extra=about)
        if tick is None:
            self._turn = turn
        else:
            tick.turn, tick.is_stored = turn, tick.is_stored or bool(found)
        return found

    def renew(self, lease: Lease, note: FindNotes | None = None) -> Lease:
        """Return the lease, prolonged by its length from now on.

        Args:
            lease: a claim on a flow.
            note: returns the calls that last, of which the flow's row is to tell; asked in the transaction.

        Raises:
            LeaseLostError: another runner took the flow over, or the lease was given back.
        """
        expires_at = self._database.write(
            lambda each: held_leases.renew(each, self._database.dialect, lease, note)
        )
        if expires_at is None:
            raise lease_lost(lease)
        return replace(lease, expires_at=expires_at)

    def hold(self, lease: Lease) -> HeldTransaction:
        """Begin a transaction in which a claimed flow stays its runner's; a task writes in it, then `save`.

        On SQLite it keeps all other writers out until it ends.

        Raises:
            LeaseLostError: another runner took the flow over, or the lease was given back.
        """

        def keep(connection: Connection) -> None:
            if not held_leases.keep(connection, lease):
                raise lease_lost(lease)

        return self._database.hold(keep)

    def release(self, *held: Lease, lost_calls: LostCalls | None = None) -> None:
        """Give leases back without saving.

        Args:
            *held: leases on different flows.
            lost_calls: the runner ended while it was in the flow, in these calls: the lease is counted with
                those of runners that vanished, and each call under way has cost one runner more.

        Raises:
            LeaseLostError: some were taken over or given back before, `.lost` holds them; they are left as
                they are, and the others were given back.
        """
        lost = self._database.write(lambda connection: held_leases.release(connection, held, lost_calls))
        if lost:
            raise lease_lost(*lost)

    def block(self, lease: Lease, reason: str) -> None:
        """Make a flow that cannot be ticked BLOCKED, and give its lease back.

        Raises:
            LeaseLostError: another runner took the flow over.
        """
        from mc.store.leases import blocking  # few flows are

        dialect, now = self._database.dialect, format_time(self.clock.now())
        if not self._database.write(lambda each: blocking.block(each, dialect, lease, reason, now)):
            raise lease_lost(lease)

    def set_aside(self, lease: Lease, until: datetime) -> None:
        """Give a flow back as it was saved last, and make it due at a later time.

        It is due at once if it is to be cancelled, or a person asks for something.

        Raises:
            LeaseLostError: another runner took the flow over.
        """
        dialect, now = self._database.dialect, format_time(self.clock.now())
        later = format_time(until)
        if not self._database.write(lambda each: held_leases.set_aside(each, dialect, lease, later, now)):
            raise lease_lost(lease)

    def next_due_at(self, family_of: str | None = None) -> datetime | None:
        """Return when the next flow is due that no runner holds; None if time alone makes none due.

        Args:
            family_of: only this flow and its stored sub-flows.
        """
        query = claims.next_due_query(self._database.dialect, family_of)
        text: str | None = self._database.read(lambda connection: connection.scalar(query))
        try:
            return parse_time(text) if text else None
        except DurationError:
            _logger.warning("the time %r of a flow cannot be read; see houston doctor", text)
            return None

    def has_unfinished_jobs(self) -> bool:
        """Tell whether there is a job that has not ended."""
        query = select(job.c.id).where(job.c.status.in_(("PENDING", "SUBMITTED", "RUNNING"))).limit(1)
        return self._database.read(lambda connection: connection.scalar(query)) is not None

    def is_held(self, family_of: str) -> bool:
        """Tell whether a runner holds this flow or a stored sub-flow of it."""
        query = claims.held_query(self._database.dialect, family_of)
        return self._database.read(lambda connection: connection.scalar(query)) is not None

    def tidy(self) -> None:
        """Give room back that work has taken (SQLite's write-ahead log), unless somebody is in the way."""
        self._database.tidy()

    def _now(self) -> datetime:
        return self.clock.now()


def _refuse_results(reference: str) -> Any:
    from mc.store.rows.task_parts import refuse_results  # a tick with nothing to do is done without

    return refuse_results(reference)
