"""Notes of calls that last, in the row of their flow: as text, and what becomes of those that were lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from mc.context.json_values import dumps, loads
from mc.durations import format_time, parse_time
from mc.errors import McError
from mc.flows.calls.call_note import CallNote
from mc.store.event import LOST, EventKind
from mc.store.history.event_log import EventRow, insert_attempts, insert_events, shorten_path
from mc.store.lease import Lease
from mc.store.schema.tables import flow
from mc.store.sql.column_types import storable_text

__all__ = ["lose_noted_calls", "notes_from_text", "notes_to_text", "record_lost_calls", "write_notes"]


def notes_to_text(notes: Sequence[CallNote]) -> str | None:
    """Return JSON text; None if there is nothing to tell."""
    return storable_text(dumps([note.to_dict() for note in notes])) if notes else None


def notes_from_text(text: str | None) -> tuple[CallNote, ...]:
    """Read what `notes_to_text` wrote; of anything else, nothing."""
    try:
        found = loads(text) if text else ()
        return tuple(CallNote(**{**note, "since": parse_time(note["since"])}) for note in found)
    except (McError, KeyError, TypeError, ValueError):
        return ()


def write_notes(connection: Connection, key: str, notes: Sequence[CallNote]) -> None:
    """Say anew which calls of a flow last; its row has been written or locked in the same transaction."""
    connection.execute(_WRITE, {"flow": key, "text": notes_to_text(notes)})


def record_lost_calls(
    connection: Connection, key: str, text: str, now: str, lease: Lease | None = None
) -> None:
    """Add the calls of a note whose runner ended to the history of the flow: they are LOST.

    A call that made those of tasks inside of it has lost nothing but these.

    Args:
        connection: in a transaction that has locked the flow's row, and takes the note out of it.
        key: of the flow.
        text: the note.
        now: ISO 8601.
        lease: under which that was found.
    """
    rows = EventRow(key, now, lease)
    events, attempts = [], []
    for note in notes_from_text(text):
        if note.holds_others:
            continue
        task, since = shorten_path(note.task), format_time(note.since)
        detail = {"since": since, "runner": note.owner, "host": note.host, "pid": note.pid}
        event = rows.make(
            EventKind.LOST, LOST, old="RUNNING", task_key=task, number=note.attempt, detail=detail
        )
        events.append(event)
        attempts.append((key, task, note.attempt, LOST, since, now, note.owner, None))
    insert_events(connection, events)
    insert_attempts(connection, attempts)


def lose_noted_calls(connection: Connection, key: str, now: str) -> None:
    """Take the note out of the row of a flow that no runner holds any more, and record its calls as lost."""
    text = connection.scalar(_NOTE, {"flow": key})
    if text:
        record_lost_calls(connection, key, text, now)
        connection.execute(_WRITE, {"flow": key, "text": None})


_WRITE: Final = update(flow).where(flow.c.key == bindparam("flow")).values(long_calls=bindparam("text"))
_NOTE: Final = select(flow.c.long_calls).where(
    flow.c.key == bindparam("flow"), flow.c.long_calls.is_not(None)
)
