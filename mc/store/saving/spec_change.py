"""The change to another spec, written in the transaction that saves the flow."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update

from mc.context.json_values import dumps, encode_json, loads
from mc.flows.flow import Flow
from mc.spec.digest import spec_digest
from mc.store.rows.spec_rows import delete_unused_spec, keep_spec
from mc.store.schema.tables import flow
from mc.store.stored_state import StoredState

__all__ = ["SpecChange"]


class SpecChange:
    """The new spec of a flow, made ready before the transaction begins.

    Args:
        migrated: the flow.

    Raises:
        NotJsonError: JSON cannot hold the spec.
    """

    def __init__(self, migrated: Flow) -> None:
        self._key: Final = migrated.key
        self._spec: Final = migrated.spec
        self._digest: Final = spec_digest(migrated.spec)
        self._text: Final = encode_json(migrated.spec, f"spec of flow {migrated.key!r}")
        self._own_spec: Any = None

    def write(self, connection: Connection, body: str) -> None:
        """Give the flow its new spec, and delete the old one if no other flow has it.

        Args:
            connection: in a transaction that has written the flow's row.
            body: what it wrote to the column of that name.
        """
        old = connection.scalar(_FIND, {"flow_key": self._key})
        self._own_spec = None if keep_spec(connection, self._digest, self._text) else self._spec
        values = {"digest": self._digest, "flow_key": self._key, "new_body": body}
        if self._own_spec is not None:
            values["new_body"] = dumps({**loads(body), "spec": self._own_spec})
        connection.execute(_WRITE, values)
        if old is not None and old != self._digest:
            delete_unused_spec(connection, old)

    def mark_saved(self, state: StoredState) -> None:
        """Take over what has been committed."""
        state.own_spec = self._own_spec


_FIND: Final = select(flow.c.spec_digest).where(flow.c.key == bindparam("flow_key"))
_WRITE: Final = (
    update(flow)
    .where(flow.c.key == bindparam("flow_key"))
    .values(spec_digest=bindparam("digest"), body=bindparam("new_body"))
)
