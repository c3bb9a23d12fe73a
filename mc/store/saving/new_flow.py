"""New flows, written whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert

from mc.context.json_values import dumps, encode_json, loads
from mc.durations import format_time
from mc.errors import FlowExistsError
from mc.flows.flow import Flow
from mc.flows.resources.requests import ask_anew
from mc.spec.digest import spec_digest
from mc.store.history.event_log import write_history
from mc.store.lease import Lease
from mc.store.reading.awaited_flows import refuse_awaited_flows
from mc.store.reading.flow_reader import chunks
from mc.store.rows.flow_and_task_rows import check_key
from mc.store.rows.spec_rows import keep_specs
from mc.store.rows.used_keys import find_taken_keys
from mc.store.saving.flow_writer import SAVED_COLUMNS, FlowDraft, draft_save
from mc.store.saving.graph_writer import OUTER_GRAPHS
from mc.store.saving.inner_flow_writer import write_inner_flows
from mc.store.schema import tables
from mc.store.sql.statements import Batch, Count, Prepared
from mc.store.stored_state import StoredState

__all__ = ["NewFlow", "draft_new_flow", "insert_flows"]


@dataclass(slots=True, kw_only=True)
class NewFlow:
    """A flow that is to be stored for the first time."""

    draft: FlowDraft
    row: dict[str, Any]
    spec_text: str | None


def draft_new_flow(
    flow: Flow, now: datetime, waiter_key: str | None = None, lease: Lease | None = None
) -> NewFlow:
    """Return all rows of a flow.

    Args:
        flow: what is to be stored.
        now: the present.
        waiter_key: the stored flow that waits for it.
        lease: of the runner that stores it, for the history.

    Raises:
        StoreError: a key is too long.
        NotJsonError: JSON cannot hold a part of the flow.
        FlowFormatError: it had begun, and waits for a stored sub-flow.
    """
    check_key(flow.key, "flow key")
    flow.filter_tasks()  # what is handed out is written; the flow may have been saved elsewhere
    if flow.status == "RUNNING":
        ask_anew(flow, format_time(now))  # what it held is another's, or its own elsewhere
    state = StoredState(data="", waiter_key=waiter_key)
    draft = draft_save(flow, state, now, lease)
    if flow.status != "PENDING":
        refuse_awaited_flows(flow)
    digest = spec_digest(flow.spec) if flow.spec is not None else None
    row = {
        **draft.columns,
        "data": draft.data,
        "waiter_key": waiter_key,
        "spec_digest": digest,
        "created_at": format_time(now),
        "lease_token": 0,
        "lost_leases": 0,
        "revision": 1,
    }
    text = encode_json(flow.spec, f"spec of flow {flow.key!r}") if digest is not None else None
    return NewFlow(draft=draft, row=row, spec_text=text)


def insert_flows(connection: Connection, flows: Sequence[NewFlow]) -> None:
    """Write new flows.

    Raises:
        FlowExistsError: one of the keys is taken; nothing may be committed.
    """
    keys = [new.row["key"] for new in flows]
    taken = [key for key, count in Counter(keys).items() if count > 1]
    for chunk in chunks(keys):
        for found in find_taken_keys(connection, chunk):
            if found.deleted_at is not None:
                raise _used_before(found.key, found.deleted_at)
            taken.append(found.key)
    if taken:
        raise FlowExistsError(
            f"A flow with the key {taken[0]!r} is stored already. Choose another key.", key=taken[0]
        )
    _insert_specs(connection, [new for new in flows if new.spec_text is not None])
    batch = Batch(connection)
    _INSERT_FLOW.put(batch, [[new.row[name] for name in _COLUMNS] for new in flows])
    OUTER_GRAPHS.insert(batch, [new.draft for new in flows])
    inside = [each for new in flows for each in new.draft.inside]
    if inside:
        write_inner_flows(batch, inside, (), Count())
    write_history(batch, [new.draft.history for new in flows])
    batch.send()
    for new in flows:
        if new.draft.signals is not None:
            new.draft.signals.write(connection)


def _used_before(key: str, deleted_at: str) -> FlowExistsError:
    return FlowExistsError(
        f"The key {key!r} was used before, by a flow that was deleted at {deleted_at}. Choose another key; "
        f"each names one flow for ever, so that none is taken for another.",
        key=key,
        deleted_at=deleted_at,
    )


def _insert_specs(connection: Connection, flows: Sequence[NewFlow]) -> None:
    texts = {new.row["spec_digest"]: str(new.spec_text) for new in flows}
    for chunk in chunks(list(texts)):
        texts |= keep_specs(connection, {digest: texts[digest] for digest in chunk})
    for new in flows:
        if texts[new.row["spec_digest"]] != new.spec_text:
            new.draft.state.own_spec = new.draft.flow.spec
            new.row["body"] = dumps({**loads(new.row["body"]), "spec": new.draft.flow.spec})


_COLUMNS: Final = (
    "key",
    *SAVED_COLUMNS,
    "data",
    "waiter_key",
    "spec_digest",
    "created_at",
    "lease_token",
    "lost_leases",
    "revision",
)

_INSERT_FLOW: Final = Prepared(insert(tables.flow), _COLUMNS)
