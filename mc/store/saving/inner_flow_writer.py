"""Writes of the flows inside of tasks, in the transaction that saves the outermost flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mc.context.json_values import dumps, encode_json, loads
from mc.flows.formats.flow_rows import collect_changes, mark_saved
from mc.flows.state.flow_state import FlowState
from mc.flows.state.task_node import flows_named_in
from mc.store.reading.flow_reader import chunks, named
from mc.store.rows.inner_flow_rows import INNER_COLUMNS, encode_inner_flow, inner_flow_key, place_of
from mc.store.saving.graph_writer import INNER_GRAPHS, GraphDraft
from mc.store.schema.tables import inner_flow, inner_task
from mc.store.sql.statements import Batch, Count, Prepared
from mc.store.stored_state import StoredState

__all__ = ["InnerDraft", "draft_inner_flows", "find_gone", "mark_inner_saved", "write_inner_flows"]


@dataclass(slots=True, kw_only=True)
class InnerDraft(GraphDraft):
    """What a save has to write of a flow inside of a task, made before the transaction begins."""

    flow: FlowState
    root: StoredState  # of the outermost flow
    root_key: str
    columns: dict[str, str]  # of the flow's row
    data: str | None  # None: as it was

    @property
    def is_new(self) -> bool:
        """Whether nothing is stored of it."""
        return self.state.revision == 0

    def mark_saved(self) -> None:
        """Take over what has been committed."""
        self.mark_graph_saved()
        if self.data is not None:
            self.state.data = self.data
        self.root.inner[self.flow] = self.state
        mark_saved(self.flow, self.changes)
        outer, place = self.flow.outer, self.flow.parent_task_key or ""
        has_changed = self.flow.tasks.touched or self.flow.changed_sub_flows
        if outer is not None and outer.changed_sub_flows.get(place) is self.flow and not has_changed:
            del outer.changed_sub_flows[place]


def draft_inner_flows(root_key: str, root: StoredState, around: FlowState) -> list[InnerDraft]:
    """Compare the flows inside of tasks of a flow with what is stored of them, as far as they changed.

    Args:
        root_key: of the outermost flow.
        root: what is stored of that.
        around: the flow.

    Raises:
        NotJsonError: JSON cannot hold a part of one.
        StatusError: a status was written into a task dict that the tables do not allow.
    """
    return list(_draft_inside(root_key, root, around, is_new=root.revision == 0))


def _draft_inside(
    root_key: str, root: StoredState, around: FlowState, *, is_new: bool
) -> Iterator[InnerDraft]:
    inside = around.list_flows_inside() if is_new else around.changed_sub_flows.values()
    for flow in [each for each in inside if _is_named(around, each)]:
        draft = _draft(root_key, root, flow)
        yield draft
        yield from _draft_inside(root_key, root, flow, is_new=draft.is_new)


def _is_named(around: FlowState, flow: FlowState) -> bool:
    """Tell whether a task still names a flow that is, or was, inside of it."""
    node = around.tasks.nodes.get(flow.parent_task_key or "")
    return node is not None and flow.key in flows_named_in(node.task)


def _draft(root_key: str, root: StoredState, flow: FlowState) -> InnerDraft:
    state = root.inner.get(flow)
    if state is None:
        state = StoredState(data="")
        for node in flow.tasks.nodes.values():
            flow.tasks.touch(node)
    changes = collect_changes(flow)
    if state.revision == 0:
        edges = [(edge["src_key"], edge["dest_key"]) for edge in flow.tasks.list_edges()]
        changes = replace(changes, edges=edges)
    data = state.data
    if not flow.are_data_saved or state.revision == 0:
        data = encode_json(flow.data, f"data of flow {flow.key!r}", "/data")
    draft = InnerDraft(
        key=inner_flow_key(root_key, flow.path[:-1], flow.key),
        name=flow.key,
        flow=flow,
        root=root,
        root_key=root_key,
        state=state,
        changes=changes,
        columns=encode_inner_flow(flow, changes),
        data=data if data != state.data else None,
    )
    draft.compare()
    return draft


def write_inner_flows(batch: Batch, drafts: Sequence[InnerDraft], gone: Sequence[str], found: Count) -> int:
    """Let a batch write flows inside of tasks, and delete those that are inside of none any more.

    Args:
        batch: of a save that makes sure that nobody else saves the outermost flows.
        drafts: what is to be written.
        gone: keys of rows to delete, with all that is below them, which is read now; see `find_gone`.
        found: to which the rows are added that were changed.

    Returns:
        How many rows are to be changed.
    """
    new = [draft for draft in drafts if draft.is_new]
    known = [draft for draft in drafts if not draft.is_new]
    rows = [(*(draft.columns[name] for name in INNER_COLUMNS), draft.key) for draft in known]
    _UPDATE.put(batch, rows, found)
    _UPDATE_DATA.put(batch, [(draft.data, draft.key) for draft in known if draft.data is not None])
    tasks = INNER_GRAPHS.update(batch, known, found)
    if gone:
        _DELETE.put(batch, [(key,) for key in _with_all_below(batch.connection, gone)])
    if new:
        _put_new(batch, new)
    return len(rows) + tasks


def find_gone(root_key: str, path: tuple[str, ...], draft: GraphDraft) -> list[str]:
    """Return the keys of the rows of flows that were inside of a flow's tasks, which name them no more.

    Args:
        root_key: of the outermost flow.
        path: keys of the tasks that the flow is inside of.
        draft: of the flow.
    """
    return [inner_flow_key(root_key, path, key) for key in draft.gone_inside]


def _with_all_below(connection: Connection, keys: Sequence[str]) -> list[str]:
    """Return the keys of flows, and of the flows inside of their tasks, at any depth."""
    level = found = list(dict.fromkeys(keys))
    while level:
        below: list[str] = []
        for chunk in chunks(level):
            for row in connection.execute(_BELOW, {"keys": chunk}):
                path = loads(row.path)
                below += [inner_flow_key(row.root_key, path, key) for key in flows_named_in(loads(row.body))]
        found, level = [*found, *below], below
    return found


def _put_new(batch: Batch, new: Sequence[InnerDraft]) -> None:
    _INSERT.put(
        batch,
        [
            (
                draft.key,
                draft.root_key,
                place_of(draft.flow.path),
                dumps(list(draft.flow.path)),
                draft.data,
                *(draft.columns[name] for name in INNER_COLUMNS),
            )
            for draft in new
        ],
    )
    INNER_GRAPHS.insert(batch, new)


def mark_inner_saved(drafts: Sequence[InnerDraft]) -> None:
    """Take over what has been committed, of the innermost flows first."""
    for draft in reversed(drafts):
        draft.mark_saved()


_BELOW: Final = (
    select(inner_flow.c.root_key, inner_flow.c.path, inner_task.c.body)
    .join(inner_task, inner_task.c.flow_key == inner_flow.c.key)
    .where(named(inner_flow.c.key), inner_task.c.body.contains('"sub_flow":', autoescape=True))
)
# the database deletes what belongs to it
_DELETE: Final = Prepared(delete(inner_flow).where(inner_flow.c.key == bindparam("flow")), ("flow",))
_INSERT: Final = Prepared(insert(inner_flow), ("key", "root_key", "place", "path", "data", *INNER_COLUMNS))
_UPDATE: Final = Prepared(
    update(inner_flow)
    .where(inner_flow.c.key == bindparam("flow"))
    .values({name: bindparam(f"new_{name}") for name in INNER_COLUMNS}),
    (*(f"new_{name}" for name in INNER_COLUMNS), "flow"),
)
_UPDATE_DATA: Final = Prepared(
    update(inner_flow).where(inner_flow.c.key == bindparam("flow")).values(data=bindparam("new_data")),
    ("new_data", "flow"),
)
