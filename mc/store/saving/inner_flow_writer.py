"""Writes of the flows inside of tasks, in the transaction that saves the outermost flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, update

from mc.context.json_values import dumps, encode_json
from mc.flows.formats.flow_rows import collect_changes, mark_saved
from mc.flows.state.flow_state import FlowState
from mc.store.rows.inner_flow_rows import INNER_COLUMNS, encode_inner_flow, inner_flow_key, place_of
from mc.store.saving.graph_writer import INNER_GRAPHS, GraphDraft
from mc.store.schema.tables import inner_flow
from mc.store.sql.statements import Prepared
from mc.store.stored_state import StoredState

__all__ = ["InnerDraft", "draft_inner_flows", "mark_inner_saved", "write_inner_flows"]


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
    changed: Iterable[FlowState] = around.changed_sub_flows.values()
    for flow in list(around.list_flows_inside() if is_new else changed):
        draft = _draft(root_key, root, flow)
        yield draft
        yield from _draft_inside(root_key, root, flow, is_new=draft.is_new)


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
        data = encode_json(changes.attributes["data"], f"data of flow {flow.key!r}", "/data")
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


def write_inner_flows(connection: Connection, drafts: Sequence[InnerDraft]) -> tuple[int, int]:
    """Write flows inside of tasks; a new one takes the place of the one that was in its task before.

    Args:
        connection: in a transaction that has made sure that nobody else saves the outermost flows.
        drafts: what is to be written.

    Returns:
        How many rows were to be changed, and how many were.
    """
    new = [draft for draft in drafts if draft.is_new]
    known = [draft for draft in drafts if not draft.is_new]
    places = [(draft.root_key, place_of(draft.flow.path)) for draft in new]
    _DELETE.run_many(connection, places)
    _INSERT.run_many(
        connection,
        [
            (
                draft.key,
                *place,
                dumps(list(draft.flow.path)),
                draft.data,
                *(draft.columns[name] for name in INNER_COLUMNS),
            )
            for draft, place in zip(new, places, strict=True)
        ],
    )
    rows = [(*(draft.columns[name] for name in INNER_COLUMNS), draft.key) for draft in known]
    found = _UPDATE.run_many(connection, rows)
    _UPDATE_DATA.run_many(connection, [(draft.data, draft.key) for draft in known if draft.data is not None])
    tasks, found_tasks = INNER_GRAPHS.update(connection, drafts)
    return len(rows) + tasks, found + found_tasks


def mark_inner_saved(drafts: Sequence[InnerDraft]) -> None:
    """Take over what has been committed, of the innermost flows first."""
    for draft in reversed(drafts):
        draft.mark_saved()


_DELETE: Final = Prepared(
    delete(inner_flow).where(
        inner_flow.c.root_key == bindparam("root"), inner_flow.c.place == bindparam("where")
    ),
    ("root", "where"),
)
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
