"""The transaction of a transactional task: what its function writes, and the save of its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mc.errors import McError, StoreError
from mc.store.databases.held_transaction import HeldTransaction
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease

if TYPE_CHECKING:
    from mc.flows.services import OpenCall

__all__ = ["TaskTransaction"]


@dataclass(slots=True, kw_only=True)
class TaskTransaction:
    """Holds a transaction from before a transactional task's function is called until its task is saved.

    Args:
        store: of the flow.
        lease: the claim on it; its token is checked, and the row locked, before the function is called.
        before: called before the transaction begins.
        on_problem: told where the transaction could not begin, or its database went away: that is no failure
            of the task, so nothing may be saved of its call.
        held: the transaction that waits for the save of its task; None if none does.
    """

    store: FlowStore
    lease: Lease
    before: Callable[[], object]
    on_problem: Callable[[McError], object]
    held: HeldTransaction | None = None
    _call: OpenCall | None = None

    @contextmanager
    def begin(self, call: OpenCall) -> Iterator[Any]:
        """Give a call the connection to write on; what it writes is gone if an exception leaves the block.

        Otherwise the transaction stays open, and the save of the call's outcome ends it. The connection is
        SQLAlchemy's.
        """
        call.has_effects = True  # so that the outcome is saved before anything else is called
        held = self.held = self._hold()
        self._call = call
        try:
            yield held.connection
            held.check()
        except BaseException as error:
            problem = held.was_lost(error)
            if problem is not None:
                self.on_problem(problem)
            self.roll_back()
            raise

    def take(self) -> HeldTransaction | None:
        """Return the open transaction, to be committed with the save; None if there is none.

        Where the task of the call is not COMPLETED, what was written is taken back first.
        """
        held, call = self.held, self._call
        if held is None or call is None:
            return None
        if call.task.get("status") != "COMPLETED":
            self.roll_back()
            return None
        return held

    def roll_back(self) -> None:
        """Take back what was written and not committed; harmless when there is nothing."""
        held, self.held, self._call = self.held, None, None
        if held is not None:
            held.roll_back()

    def _hold(self) -> HeldTransaction:
        try:
            self.before()
            return self.store.hold(self.lease)
        except StoreError as error:
            self.on_problem(error)
            raise
