"""The rows of signals: read with their flow, written with its saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from mc.context.json_values import dumps, loads
from mc.flows.flow import Flow
from mc.flows.state.mailbox import Signal, TakenSignal
from mc.spec.names import RESERVED_PREFIX
from mc.store.event import EventKind
from mc.store.history.event_log import EventRow
from mc.store.lease import Wake
from mc.store.rows.wakes import SIGNAL, add_wake
from mc.store.schema.tables import signal
from mc.store.sql.statements import Prepared, Row

__all__ = ["SignalDraft", "draft_signals", "find_signal", "insert_signal", "list_signals", "sent_event"]


def list_signals(connection: Connection, flow_keys: Sequence[str]) -> dict[str, list[Signal]]:
    """Return the signals of flows that were not taken yet, in order; flows without are left out."""
    found: dict[str, list[Signal]] = {}
    for row in connection.execute(_LIST, {"flow_keys": flow_keys}):
        found.setdefault(row.flow_key, []).append(_to_signal(row))
    return found


def find_signal(connection: Connection, flow_key: str, signal_id: str) -> Signal | None:
    """Return a signal by its id, also one that was taken."""
    row = connection.execute(_FIND, {"flow": flow_key, "wanted": signal_id}).one_or_none()
    return _to_signal(row) if row is not None else None


def insert_signal(connection: Connection, flow_key: str, new: Signal, now: str) -> None:
    """Write a signal and make its flow due; the flow's row is locked."""
    _INSERT.run(connection, (flow_key, new.id, new.name, dumps(new.data), new.sent_at, new.sent_by))
    add_wake(connection, flow_key, Wake(kind=SIGNAL, source_key=new.id), now)


def sent_event(rows: EventRow, new: Signal) -> Row:
    """Return the event that tells of a signal that came."""
    detail = {**_describe(new), "by": new.sent_by}
    return rows.make(EventKind.SIGNAL_SENT, None, at=new.sent_at, detail=detail)


@dataclass(slots=True)
class SignalDraft:
    """What a save has to write of a flow's signals."""

    flow_key: str = ""
    added: Sequence[Signal] = ()  # that came while the flow was in memory
    taken: Sequence[TakenSignal] = ()

    def events(self, rows: EventRow) -> Iterator[Row]:
        """Yield the events that tell of it."""
        for new in self.added:
            yield sent_event(rows, new)
        for each in self.taken:
            detail = {**_describe(each.signal), "by": each.signal.sent_by, "taken_by": each.taken_by}
            kind, key = EventKind.SIGNAL_TAKEN, each.task_key
            yield rows.make(kind, None, task_key=key, at=each.taken_at, detail=detail)

    def write(self, connection: Connection) -> None:
        """Write it, after the flow's row in the same transaction."""
        taken = {each.signal.id for each in self.taken}
        for new in self.added:
            if new.id in taken:
                row = (self.flow_key, new.id, new.name, dumps(new.data), new.sent_at, new.sent_by)
                _INSERT.run(connection, row)
            else:
                insert_signal(connection, self.flow_key, new, new.sent_at)
        rows = [(each.taken_by, each.taken_at, self.flow_key, each.signal.id) for each in self.taken]
        _TAKE.run_many(connection, rows)

    def mark_saved(self, flow: Flow) -> None:
        """Forget what has been committed."""
        if flow.state.mailbox is not None:
            flow.state.mailbox.mark_saved(len(self.added), len(self.taken))


def draft_signals(flow: Flow) -> SignalDraft:
    """Return what a save has to write of a flow's signals."""
    mailbox = flow.state.mailbox
    if mailbox is None:
        return SignalDraft()
    return SignalDraft(flow_key=flow.key, added=tuple(mailbox.added), taken=tuple(mailbox.taken))


def _describe(signal: Signal) -> dict[str, Any]:
    if signal.name.startswith(RESERVED_PREFIX):
        return dict(signal.data)  # a decision: task, approved, comment
    return {"signal": signal.name, "id": signal.id}


def _to_signal(row: Any) -> Signal:
    return Signal(
        id=row.signal_id, name=row.name, data=loads(row.data), sent_at=row.sent_at, sent_by=row.sent_by
    )


_COLUMNS: Final = (
    signal.c.flow_key,
    signal.c.signal_id,
    signal.c.name,
    signal.c.data,
    signal.c.sent_at,
    signal.c.sent_by,
)
_LIST: Final = (
    select(*_COLUMNS)
    .where(signal.c.flow_key.in_(bindparam("flow_keys", expanding=True)), signal.c.taken_at.is_(None))
    .order_by(signal.c.id)
)
_FIND: Final = select(*_COLUMNS).where(
    signal.c.flow_key == bindparam("flow"), signal.c.signal_id == bindparam("wanted")
)
_INSERT: Final = Prepared(insert(signal), ("flow_key", "signal_id", "name", "data", "sent_at", "sent_by"))
_TAKE: Final = Prepared(
    update(signal)
    .where(signal.c.flow_key == bindparam("flow"), signal.c.signal_id == bindparam("wanted"))
    .values(taken_by=bindparam("new_taken_by"), taken_at=bindparam("new_taken_at")),
    ("new_taken_by", "new_taken_at", "flow", "wanted"),
)
