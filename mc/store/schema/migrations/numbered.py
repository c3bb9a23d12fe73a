"""The migrations, by number; imported only where a database is behind, or is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection

from mc.store.schema.migrations import (
    m0001_flows,
    m0002_history,
    m0003_ticks,
    m0004_frontier,
    m0005_signals,
    m0006_resources,
    m0007_claims,
    m0008_lost_calls,
)

__all__ = ["MIGRATIONS"]

# A migration that was published never changes. It does each change of a table only if it is not made yet,
# because MariaDB and MySQL cannot take back what was done before an interruption.
MIGRATIONS: Final[Mapping[int, Callable[[Connection], None]]] = {
    1: m0001_flows.upgrade,
    2: m0002_history.upgrade,
    3: m0003_ticks.upgrade,
    4: m0004_frontier.upgrade,
    5: m0005_signals.upgrade,
    6: m0006_resources.upgrade,
    7: m0007_claims.upgrade,
    8: m0008_lost_calls.upgrade,
}
