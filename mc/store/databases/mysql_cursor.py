"""The cursor of connections to MariaDB and MySQL."""

from __future__ import annotations

from typing import Any, Final

from pymysql.cursors import Cursor
from pymysql.err import OperationalError

__all__ = ["LimitedCursor"]

_TOO_LARGE: Final = 1153  # the server's own number for it
_LONGEST_CHARACTER: Final = 4  # bytes


class LimitedCursor(Cursor):
    """Refuses a statement that is larger than its connection's `max_allowed_packet`.

    The server would end the connection without a word, as if it had gone away.
    """

    def execute(self, query: Any, args: Any = None) -> int:
        """Execute a statement, and return how many rows it found or changed.

        Raises:
            OperationalError: it is too large.
        """
        statement: Any = self.mogrify(query, args)  # bytes where rows were put together
        limit = self.connection.max_allowed_packet
        if len(statement) * _LONGEST_CHARACTER >= limit:
            size = len(statement.encode() if isinstance(statement, str) else statement)
            if size >= limit:
                raise OperationalError(
                    _TOO_LARGE,
                    f"a statement of {size} bytes is larger than max_allowed_packet, {limit} bytes",
                )
        found: int = super().execute(statement)
        return found
