"""The upgrades, by number; imported only where a database is behind, or is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.sql.elements import ClauseElement

from mc.store.databases.base import Dialect
from mc.store.schema.upgrades import (
    u0001_flows,
    u0002_history,
    u0003_ticks,
    u0004_frontier,
    u0005_signals,
    u0006_resources,
    u0007_claims,
    u0008_lost_calls,
    u0009_selections,
    u0010_inner_flows,
    u0011_long_calls,
    u0012_parts_apart,
    u0013_jobs,
    u0014_work_digests,
    u0015_large_results,
)

__all__ = ["UPGRADES", "statements_of"]

# An upgrade that was published never changes. It does each change of a table only if it is not made yet,
# because MariaDB and MySQL cannot take back what was done before an interruption.
UPGRADES: Final[Mapping[int, Callable[[Connection], None]]] = {
    1: u0001_flows.upgrade,
    2: u0002_history.upgrade,
    3: u0003_ticks.upgrade,
    4: u0004_frontier.upgrade,
    5: u0005_signals.upgrade,
    6: u0006_resources.upgrade,
    7: u0007_claims.upgrade,
    8: u0008_lost_calls.upgrade,
    9: u0009_selections.upgrade,
    10: u0010_inner_flows.upgrade,
    11: u0011_long_calls.upgrade,
    12: u0012_parts_apart.upgrade,
    13: u0013_jobs.upgrade,
    14: u0014_work_digests.upgrade,
    15: u0015_large_results.upgrade,
}


@cache
def statements_of(upgrade: Callable[[Connection], None], dialect: Dialect) -> tuple[str, ...]:
    """Return what an upgrade executes where nothing of it was done, without a database."""
    collected: list[ClauseElement] = []
    connection = dialect.record(lambda found, *_, **__: collected.append(found))
    upgrade(connection)  # type: ignore[arg-type]
    options = {"literal_binds": True}
    return tuple(
        str(each.compile(dialect=connection.dialect, compile_kwargs=options)).strip() for each in collected
    )
