"""Names that were probably meant where a command names a flow or resource that is not stored."""

from __future__ import annotations

from contextlib import closing

from mc.cli.settings import Settings
from mc.errors import FlowNotFoundError, McError, ResourceError, StoreError

__all__ = ["suggest_keys"]


def suggest_keys(settings: Settings, error: McError) -> McError:
    """Return the error with the stored names that are nearest to an unknown one, if any are near."""
    from mc.clock import SystemClock
    from mc.store.nearest_names import find_nearest_names
    from mc.store.upkeep.health import open_existing

    flow, resource = (error.details.get(name) for name in ("key", "name"))
    asked: dict[str, str | None]
    if isinstance(error, FlowNotFoundError) and isinstance(flow, str):
        asked = {"key": flow}
    elif isinstance(error, ResourceError) and isinstance(resource, str):
        asked = {"name": resource}
    else:
        return error
    try:
        with closing(open_existing(settings.db_url, SystemClock(), settings.busy_seconds)) as database:
            near = database.read(lambda connection: find_nearest_names(connection, **asked))
    except StoreError:  # what is told of the name matters more
        return error
    if not near or {flow, resource} & {*near}:  # the name is known; something else is wrong
        return error
    hint = f"Did you mean {' or '.join(map(repr, near))}?"
    return type(error)(f"{error.message} {hint}", **error.details, suggestions=near)
