"""Deletions of flows, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, delete, select

from mc.context.json_values import loads
from mc.durations import parse_time
from mc.errors import ControlError, FlowNotFoundError, StoreError
from mc.json_data import JsonData
from mc.statuses import FINISHED_FLOW_STATUSES
from mc.store.databases.base import Dialect
from mc.store.lease import Wake
from mc.store.leases.claims import family_of, is_leased
from mc.store.reading.flow_reader import chunks
from mc.store.rows.request_rows import give_back_all
from mc.store.rows.spec_rows import delete_unused_spec
from mc.store.rows.used_keys import keep_used_keys
from mc.store.rows.wakes import CANCEL, FINISHED, add_wake
from mc.store.schema.tables import flow, wake

__all__ = ["Deletion", "delete_flow", "find_unfinished", "plan_deletion", "remove_flows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion(JsonData):
    """What was deleted with a flow, or would be.

    Attributes:
        key: of the flow.
        deleted: whether it was.
        label: of the flow.
        status: that the flow had.
        tasks: of the flow and its sub-flows.
        sub_flows: keys of its stored sub-flows.
        why_not: why not, for people.
    """

    key: str
    deleted: bool
    label: str | None
    status: str
    tasks: int
    sub_flows: tuple[str, ...]
    why_not: str | None = None

    @property
    def done(self) -> bool:
        """Whether it was deleted."""
        return self.deleted


def delete_flow(
    connection: Connection, dialect: Dialect, key: str, now: str, *, must_be_finished: bool = False
) -> Deletion:
    """Delete a flow and its stored sub-flows.

    Args:
        connection: in a transaction that writes.
        dialect: of the database.
        key: of the flow.
        now: ISO 8601.
        must_be_finished: refuse it while it, or a sub-flow, is not.

    Raises:
        FlowNotFoundError: there is none with that key.
        StoreError: a runner holds one of them.
        ControlError: one of them is unfinished, or held, where all must be finished.
    """
    family = _read_family(connection, dialect, key, lock=True)
    if must_be_finished:
        _refuse_unfinished(family)
    _refuse_held(family)
    keys = [row.key for row in family]
    give_back_all(connection, dialect, keys, parse_time(now))
    remove_flows(connection, keys, now)
    if family[0].waiter_key is not None:
        # The task that waits for the flow finds it gone, instead of waiting for ever.
        add_wake(connection, family[0].waiter_key, Wake(kind=FINISHED, source_key=key), now)
    return _describe(family, deleted=True)


def plan_deletion(connection: Connection, dialect: Dialect, key: str, *, must_be_finished: bool) -> Deletion:
    """Return what `delete_flow` would delete, or raise what it would."""
    family = _read_family(connection, dialect, key, lock=False)
    if must_be_finished:
        _refuse_unfinished(family)
    return _describe(family, deleted=False, why_not="dry run")


def find_unfinished(connection: Connection, dialect: Dialect, key: str) -> list[str]:
    """Return the keys of those of a flow and its stored sub-flows that are unfinished, the flow's first."""
    family = _read_family(connection, dialect, key, lock=False)
    return [row.key for row in family if row.status not in FINISHED_FLOW_STATUSES]


def remove_flows(connection: Connection, keys: Sequence[str], now: str) -> int:
    """Delete flows with all that belongs to them, and the specs that no flow uses any more.

    Args:
        connection: in a transaction that has made sure that nobody works on them.
        keys: of flows of which no other flow waits for one.
        now: ISO 8601.

    Returns:
        How many specs were deleted.
    """
    digests: set[str] = set()
    for chunk in chunks(keys):
        here = flow.c.key.in_(chunk)
        known = flow.c.spec_digest.is_not(None)
        digests.update(connection.scalars(select(flow.c.spec_digest).where(here, known).distinct()))
        of_flows = wake.c.kind.in_((FINISHED, CANCEL))
        connection.execute(delete(wake).where(wake.c.source_key.in_(chunk), of_flows))
        keep_used_keys(connection, chunk, now)
        connection.execute(delete(flow).where(here))  # the database deletes what belongs to it
    return sum(delete_unused_spec(connection, digest) for digest in sorted(digests))


def _read_family(connection: Connection, dialect: Dialect, key: str, *, lock: bool) -> list[Any]:
    """Return the rows of a flow and of all its stored sub-flows, the flow's first.

    Raises:
        FlowNotFoundError: there is none with that key.
    """
    found: dict[str, Any] = {}
    holder = case((is_leased(dialect), flow.c.lease_owner)).label("holder")
    query = select(flow.c.key, flow.c.label, flow.c.status, flow.c.task_counts, flow.c.waiter_key, holder)
    if lock:  # so that nobody claims one between the look and the deletion
        query = query.order_by(flow.c.key).with_for_update()
    while set(keys := connection.scalars(family_of(key)).all()) - found.keys():
        for chunk in chunks(keys):  # again until no runner can have started another sub-flow meanwhile
            found.update((row.key, row) for row in connection.execute(query.where(flow.c.key.in_(chunk))))
    if key not in found:
        raise FlowNotFoundError(f"No flow with the key {key!r} is stored.", key=key)
    return [found.pop(key), *found.values()]


def _refuse_held(family: Sequence[Any]) -> None:
    for row in family:
        if row.holder is not None:
            raise StoreError(
                f"Flow {row.key!r} is being ticked by {row.holder}; delete it when it has let go.",
                key=row.key,
                owner=row.holder,
            )


def _refuse_unfinished(family: Sequence[Any]) -> None:
    top = family[0].key
    for row in family:
        which = f"Flow {top!r}" if row.key == top else f"Flow {top!r} has the sub-flow {row.key!r}, which"
        if row.holder is not None:
            raise ControlError(
                f"{which} is being ticked by {row.holder}; delete it when it has let go.", key=top
            )
        if row.status not in FINISHED_FLOW_STATUSES:
            raise ControlError(
                f"{which} is {row.status}; only what is finished is deleted. `houston delete --cancel` "
                f"(`cancel=True`) cancels it first.",
                key=top,
                status=row.status,
            )


def _describe(family: Sequence[Any], *, deleted: bool, why_not: str | None = None) -> Deletion:
    top, *below = family
    return Deletion(
        key=top.key,
        deleted=deleted,
        label=top.label,
        status=top.status,
        tasks=sum(sum(loads(row.task_counts).values()) for row in family),
        sub_flows=tuple(sorted(row.key for row in below)),
        why_not=why_not,
    )
