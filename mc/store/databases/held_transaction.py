"""A transaction that stays open between a runner's look at a flow and its save, for what a task writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Final, NoReturn, Self, TypeVar

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from mc.errors import StoreBusyError, StoreError, StoreUnreachableError, TaskHandlerError

__all__ = ["HeldTransaction"]

T = TypeVar("T")
Explain = Callable[[SQLAlchemyError], StoreError]
Blames = Callable[[BaseException | None], bool]

_MARK: Final = "mc_task"


class HeldTransaction:
    """A transaction in which a task's function writes, and the save of its task after it.

    It must be ended by `write` or `roll_back`, in the thread that began it.
    """

    def __init__(
        self,
        connection: Connection,
        transaction: RootTransaction,
        rest: ExitStack,
        explain: Explain,
        blames: Blames,
    ):
        self.connection = connection
        self._transaction = transaction
        self._rest = rest
        self._explain = explain
        self._blames = blames

    @classmethod
    def begin(
        cls,
        engine: Engine,
        turn: AbstractContextManager[object],
        work: Callable[[Connection], object],
        explain: Explain,
        blames: Blames,
    ) -> Self:
        """Begin a transaction, and do `work` in it; what that raises ends the transaction.

        Args:
            engine: of the database.
            turn: what is to be held as long as the transaction.
            work: what comes first in it.
            explain: turns an error of the database into one of the store.
            blames: tells whether an error may come of a statement; see `Dialect.blames_statement`.
        """
        with ExitStack() as rest:
            rest.enter_context(turn)
            connection = rest.enter_context(engine.connect())
            transaction = connection.begin()
            work(connection)
            # It is gone as soon as the transaction is, however that ended.
            connection.exec_driver_sql(f"SAVEPOINT {_MARK}")
            connection.commit = _refuse_to_commit  # type: ignore[method-assign]
            return cls(connection, transaction, rest.pop_all(), explain, blames)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return not self.connection.closed and self.connection.in_transaction()

    def check(self) -> None:
        """Make sure that what the function wrote can still be committed or taken back as a whole.

        Raises:
            TaskHandlerError: the function ended the transaction, or an error did that it did not pass on.
            DBAPIError: the connection was lost.
        """
        try:
            if self.connection.in_transaction():
                self.connection.exec_driver_sql(f"RELEASE SAVEPOINT {_MARK}")
                return
            reason = "It was rolled back."
        except DBAPIError as error:
            if self.was_lost(error) is not None:
                raise
            reason = str(self._explain(error))
        raise TaskHandlerError(
            f"The function ended the transaction of its task: by a commit, a rollback, a statement that "
            f"commits by itself (such as CREATE TABLE on MariaDB), or an error that it kept to itself. Leave "
            f"begin and commit to the runner; use `connection.begin_nested()` for what may fail. {reason}"
        )

    def was_lost(self, error: BaseException) -> StoreError | None:
        """Return what to raise if the database went away, which is no fault of the task."""
        if not isinstance(error, SQLAlchemyError):
            return None
        if isinstance(error, DBAPIError) and not error.connection_invalidated and self._blames(error.orig):
            return None
        problem = self._explain(error)
        gone = isinstance(problem, StoreUnreachableError) and not isinstance(problem, StoreBusyError)
        return problem if gone else None

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` does in the transaction, and commit; or roll back if it raises.

        Raises:
            StoreError: the database refused or has gone away.
        """
        try:
            try:
                result = work(self.connection)
            except IntegrityError as error:  # by the store: the row was there, and locked
                raise StoreError(
                    f"The call of a transactional task cannot be saved, and nothing of it is: its function "
                    f"deleted or changed rows of its own flow in the tables of MissionControl. Let it leave "
                    f"them alone; `houston delete` and `Houston.delete` delete a flow when it has finished. "
                    f"{self._explain(error)}"
                ) from error
            self._transaction.commit()
        except SQLAlchemyError as error:
            raise self._explain(error) from error
        finally:
            self.roll_back()
        return result

    def roll_back(self) -> None:
        """Take back what was not committed and close the connection; harmless when that was done before."""
        self._rest.close()


def _refuse_to_commit() -> NoReturn:
    raise TaskHandlerError(
        "A transactional function must not commit: its runner does, together with the task's status. Leave "
        "the commit out."
    )
