"""Names that were probably meant where a command names a flow, task or resource that is not stored."""

from __future__ import annotations

from contextlib import closing

from mc.cli.settings import Settings
from mc.errors import ControlError, FlowNotFoundError, McError, ResourceError, StoreError

__all__ = ["suggest_keys"]


def suggest_keys(settings: Settings, error: McError) -> McError:
    """Return the error with the stored names that are nearest to an unknown one, if any are near."""
    from mc.clock import SystemClock
    from mc.store.nearest_names import nearest_flows, nearest_resources, nearest_tasks
    from mc.store.upkeep.health import open_existing

    flow, task, resource = (error.details.get(name) for name in ("key", "task", "name"))
    try:
        with closing(open_existing(settings.db_url, SystemClock(), settings.busy_seconds)) as database:
            if isinstance(error, FlowNotFoundError) and isinstance(flow, str):
                near = database.read(lambda connection: nearest_flows(connection, flow))
            elif isinstance(error, ControlError) and isinstance(flow, str) and isinstance(task, str):
                near = database.read(lambda connection: nearest_tasks(connection, flow, task))
            elif isinstance(error, ResourceError) and isinstance(resource, str):
                near = database.read(lambda connection: nearest_resources(connection, resource))
            else:
                return error
    except StoreError:  # what is told of the name matters more
        return error
    if not near or {flow, task, resource} & {*near}:  # the name is known; something else is wrong
        return error
    hint = f"Did you mean {' or '.join(map(repr, near))}?"
    return type(error)(f"{error.message} {hint}", **error.details, suggestions=near)
