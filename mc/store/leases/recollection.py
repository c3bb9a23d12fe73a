"""The recollection of a store: tokens and revisions, which only grow unless a backup was restored."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any, Final

from mc.store.leases.refusals import gone_backwards

__all__ = ["Recollection"]

_MOST: Final = 10_000  # flows; those seen last


class Recollection:
    """The newest token and revision of each of the flows that a store claimed or saved last."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._lock = Lock()

    def note(self, key: str, token: int, revision: int) -> None:
        """Remember how a flow was saved; without a lease, the token is 0."""
        with self._lock:
            before, _ = self._seen.pop(key, (0, 0))
            self._seen[key] = (max(token, before), revision)
            if len(self._seen) > _MOST:
                del self._seen[next(iter(self._seen))]

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen.clear()

    def check(self, rows: Iterable[Any]) -> None:
        """Compare rows of flows with what was seen of them.

        Raises:
            StoreReplacedError: one of them is older.
        """
        for row in rows:
            token, revision = self._seen.get(row.key, (0, 0))
            if row.lease_token < token or row.revision < revision:
                raise gone_backwards(row.key)
