"""The last saves of flows that a runner is done with, which wait for each other to share a commit."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from mc.errors import McError, StoreError, StoreUnreachableError
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease

if TYPE_CHECKING:
    from mc.store.saving.flow_saver import FinalSave

__all__ = ["FinalSaves", "SaveResult"]

_LONGEST_WAIT: Final = timedelta(seconds=0.2)
_MOST: Final = 50


class SaveResult(NamedTuple):
    """What became of a save."""

    save: FinalSave
    error: McError | None


class FinalSaves:
    """Collects last saves and writes them together.

    Only what may be done again waits: what tasks with effects did has been saved right after their
    calls. The wait ends before the next such call, and at the latest at the next heartbeat.

    Args:
        store: of the flows.
    """

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self._lock = Lock()
        self._waiting: list[FinalSave] = []
        self._since: datetime | None = None
        self._results: list[SaveResult] = []
        self._problem: StoreError | None = None
        self._given_up: list[FinalSave] = []  # until they are forgotten

    def add(self, save: FinalSave) -> None:
        """Let a save wait."""
        with self._lock:
            self._since = self._since or self._store.clock.now()
            self._waiting.append(save)

    def is_due(self) -> bool:
        """Tell whether enough have waited, or one for long enough."""
        since = self._since
        if since is None:
            return False
        return len(self._waiting) >= _MOST or self._store.clock.now() - since >= _LONGEST_WAIT

    def write(self) -> list[SaveResult]:
        """Write all that waits, and return what became of all that was written since the last time.

        Raises:
            StoreUnreachableError: the database cannot be used; what waited is given up.
        """
        with self._lock:
            self._write()
            problem, self._problem = self._problem, None
            if problem is not None:
                raise problem
            results, self._results = self._results, []
            return results

    def write_at_beat(self) -> None:
        """Write all that waits, in the thread of the heartbeat, while the runner's makes a long call."""
        with self._lock:
            self._write()

    def forget(self) -> list[Lease]:
        """Give up what waits, and return its leases: its flows are taken up again when those are over."""
        with self._lock:
            leases = [save.lease for save in [*self._given_up, *self._waiting]]
            self._given_up, self._waiting, self._since, self._problem = [], [], None, None
            return leases

    def _write(self) -> None:
        saves, self._waiting, self._since = self._waiting, [], None
        if not saves:
            return
        try:
            self._results += _save_together(self._store, saves)
        except StoreUnreachableError as error:
            self._given_up += saves
            self._problem = error  # raised in the thread of the runner


def _save_together(store: FlowStore, saves: list[FinalSave]) -> list[SaveResult]:
    try:
        errors = store.save_many(saves)
    except StoreUnreachableError:
        raise
    except StoreError as error:
        if len(saves) == 1:
            return [SaveResult(saves[0], error)]
        # what the database refuses of one flow is not to stop the others
        return [result for save in saves for result in _save_together(store, [save])]
    return [SaveResult(save, errors.get(save.flow.key)) for save in saves]
