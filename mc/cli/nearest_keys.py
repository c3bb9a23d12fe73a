"""Keys that were probably meant where a command names a flow that is not stored."""

from __future__ import annotations

from contextlib import closing

from mc.cli.settings import Settings
from mc.errors import FlowNotFoundError, StoreError

__all__ = ["suggest_keys"]


def suggest_keys(settings: Settings, error: FlowNotFoundError) -> FlowNotFoundError:
    """Return the error with the stored keys that are nearest to the unknown one, if any are near."""
    from mc.clock import SystemClock
    from mc.store.flow_reader import find_nearest_keys
    from mc.store.health import open_existing

    key = error.details.get("key")
    if not isinstance(key, str):
        return error
    try:
        with closing(open_existing(settings.db_url, SystemClock(), settings.busy_seconds)) as database:
            near = database.read(lambda connection: find_nearest_keys(connection, key))
    except StoreError:  # what is told of the key matters more
        return error
    if not near:
        return error
    hint = f"Did you mean {' or '.join(map(repr, near))}?"
    return FlowNotFoundError(f"{error.message} {hint}", **error.details, suggestions=near)
