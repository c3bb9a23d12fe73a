"""The flows of a store that a selection means, read page by page."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, not_, or_, select

from mc.durations import format_time, to_time_text
from mc.errors import FlowNotFoundError, SelectionError
from mc.store.database import Database
from mc.store.databases.base import Dialect
from mc.store.flow_selection import FlowSelection
from mc.store.flow_summary import FlowSummary
from mc.store.leases.claims import family_of, is_leased
from mc.store.reading.flow_summaries import read_summaries, summaries_query
from mc.store.schema.tables import flow

__all__ = ["SelectedFlows", "count_query", "page_query"]

Position = tuple[str, str]  # a time of a flow and its key, by which flows are sorted

_PAGE: Final = 1_000  # flows that are read together
_SURROGATES: Final = range(0xD800, 0xE000)  # which no text in UTF-8 has


class SelectedFlows:
    """The flows of a store that a selection means, newest first; those of equal age by their keys.

    Nothing is read before it is asked for, and never more than a page at a time.

    Args:
        database: of the flows.
        selection: at a moment.
    """

    def __init__(self, database: Database, selection: FlowSelection) -> None:
        self._database = database
        self.selection = selection

    def count(self) -> int:
        """Return how many there are now."""
        query = count_query(self.selection, self._database.dialect)
        return self._database.read(lambda connection: connection.scalar(query) or 0)

    def read(self, limit: int | None = None, *, after: str | None = None) -> Iterator[FlowSummary]:
        """Return an iterator over them, which reads a page at a time.

        What others change meanwhile may be seen or not; none is seen twice.

        Args:
            limit: at most so many.
            after: only those that come after the flow of this key.

        Raises:
            SelectionError: the limit is negative.
            FlowNotFoundError: there is no flow `after` which others could come.
        """
        if limit is not None and limit < 0:
            raise SelectionError(f"A limit of {limit} flows makes no sense; use 0 or more.", found=limit)
        return self._read_pages(limit, None if after is None else self._position_of(after))

    def read_keys(self) -> Iterator[str]:
        """Yield their keys; those that the selection names, whether they are stored or not."""
        yield from self.selection.keys or (summary.key for summary in self.read())

    def has(self, key: str) -> bool:
        """Tell whether a flow is one of them now."""
        conditions = _conditions_of(self.selection, self._database.dialect)
        query = select(flow.c.key).where(flow.c.key == key, *conditions)
        return self._database.read(lambda connection: connection.scalar(query)) is not None

    def _read_pages(self, limit: int | None, position: Position | None) -> Iterator[FlowSummary]:
        left = sys.maxsize if limit is None else limit
        dialect = self._database.dialect
        columns = summaries_query(dialect)
        while left > 0:
            size = min(left, _PAGE)
            query = page_query(self.selection, dialect, columns, size, position)
            page = self._database.read(partial(read_summaries, query=query))
            yield from page
            if len(page) < size:
                return
            left -= size
            last = page[-1]
            at = last.created_at if self.selection.time == "created" else last.finished_at
            assert at is not None  # it was chosen by that
            position = format_time(at), last.key

    def _position_of(self, key: str) -> Position:
        query = select(_TIMES[self.selection.time]).where(flow.c.key == key)
        at = self._database.read(lambda connection: connection.scalar(query))
        if at is None:
            what = self.selection.time
            message = f"No flow with the key {key!r} is stored that was {what}; none comes after it."
            raise FlowNotFoundError(message, key=key)
        return at, key


def count_query(selection: FlowSelection, dialect: Dialect) -> Select[Any]:
    """Return a query for the number of flows that are selected."""
    return select(func.count()).select_from(flow).where(*_conditions_of(selection, dialect))


def page_query(
    selection: FlowSelection,
    dialect: Dialect,
    columns: Select[Any],
    limit: int,
    after: Position | None = None,
) -> Select[Any]:
    """Return a query for a page of the flows that are selected, newest first.

    Args:
        selection: at a moment.
        dialect: of the database.
        columns: of flows.
        limit: at most so many.
        after: time and key of the flow that the page comes after.
    """
    at = _TIMES[selection.time]
    order = at.desc(), flow.c.key.desc()
    query = columns.where(*_conditions_of(selection, dialect)).order_by(*order).limit(limit)
    if after is None:
        return query
    time, key = after  # said so that every database sees the range of an index
    return query.where(at <= time, or_(at < time, flow.c.key < key))


def _conditions_of(selection: FlowSelection, dialect: Dialect) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that flows fulfil which are selected."""
    if selection.keys:
        yield flow.c.key.in_(selection.keys)
        return
    if selection.statuses:
        yield _has_status(selection.statuses, dialect)
    if selection.label is not None:
        yield flow.c.label == selection.label
    if selection.prefix is not None:
        yield flow.c.key >= selection.prefix
        end = _after_prefix(selection.prefix)
        if end:
            yield flow.c.key < end
    if selection.family_of is not None:
        yield flow.c.key.in_(family_of(selection.family_of))
    yield from _time_conditions(selection)
    if not selection.sub_flows:
        # Many flows fulfil this; its index, sorted by creation, is offered only where no other narrows them.
        if selection.statuses or selection.label or selection.prefix or selection.time != "created":
            yield func.coalesce(flow.c.waiter_key, "") == ""
        else:
            yield flow.c.waiter_key.is_(None)


def _has_status(statuses: Sequence[str], dialect: Dialect) -> ColumnElement[bool]:
    """Tell whether a flow is shown with one of these; one that is PENDING is RUNNING while a call lasts."""
    wanted = {*statuses}
    if ("PENDING" in wanted) == ("RUNNING" in wanted):
        return flow.c.status.in_(statuses)
    is_called = and_(flow.c.long_calls.is_not(None), is_leased(dialect))
    if "RUNNING" in wanted:
        return and_(flow.c.status.in_([*statuses, "PENDING"]), or_(flow.c.status != "PENDING", is_called))
    return and_(flow.c.status.in_(statuses), or_(flow.c.status != "PENDING", not_(is_called)))


def _time_conditions(selection: FlowSelection) -> Iterator[ColumnElement[bool]]:
    at = _TIMES[selection.time]
    if selection.time == "finished":
        yield at.is_not(None)
    if selection.since is not None:
        yield at >= to_time_text(selection.since)
    if selection.until is not None:
        yield at < to_time_text(selection.until)
    if selection.as_of is not None:
        then = format_time(selection.as_of)
        yield flow.c.created_at <= then
        yield or_(flow.c.modified_at <= then, flow.c.status == "RUNNING")


def _after_prefix(prefix: str) -> str:
    """Return the first text that is greater than all that begin with a prefix; empty if there is none."""
    while prefix:
        rest, code = prefix[:-1], ord(prefix[-1]) + 1
        if code <= sys.maxunicode:
            return rest + chr(_SURROGATES.stop if code in _SURROGATES else code)
        prefix = rest
    return ""


_TIMES: Final = {"created": flow.c.created_at, "finished": flow.c.finished_at}
