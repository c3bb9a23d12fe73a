"""Log records while the command runs: on stderr, each beginning a line of its own."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mc.printable import printable_lines
from mc.store.databases.shown_url import mask_urls

__all__ = ["MOST_FAILURES", "log_to_stderr", "some_failures"]

MOST_FAILURES: Final = 20  # that one tick tells of, so that its mail can be read
_STATUSES: Final = {"flow_failed": "FAILED", "flow_blocked": "BLOCKED"}  # by the action of the record


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is at that moment, which a live table replaces for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


class _Formatter(logging.Formatter):
    """Escapes control characters, hides passwords, and indents all lines of a record but the first."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return printable_lines(mask_urls(super().format(record))).rstrip("\n").replace("\n", "\n    ")


class _WithoutTracebacks(_Formatter):
    """Leaves tracebacks out, which are for `--debug`."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return ""


def log_to_stderr(*, debug: bool) -> None:
    """Let records of tasks reach stderr from INFO on, those of the library itself from WARNING on.

    Args:
        debug: let everything through instead.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        handler = _StderrHandler()
        formatter = _Formatter if debug else _WithoutTracebacks
        handler.setFormatter(formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("mc").setLevel(logging.NOTSET if debug else logging.WARNING)
    logging.getLogger("mc.task").setLevel(logging.NOTSET if debug else logging.INFO)


@contextmanager
def some_failures(most: int, *, count_rest: bool = True) -> Iterator[None]:
    """Let no more records of flows that failed or were blocked reach stderr than so many.

    Args:
        most: how many.
        count_rest: tell at the end how many more there were, and how to find them.
    """
    shown: Counter[str] = Counter()

    def may_show(record: logging.LogRecord) -> bool:
        status = _STATUSES.get(getattr(record, "action", ""))
        if status is None:
            return True
        shown[status] += 1
        if shown.total() <= most:
            return True
        hidden[status] += 1
        return False

    hidden: Counter[str] = Counter()
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, _StderrHandler)]
    for handler in handlers:
        handler.addFilter(may_show)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(may_show)
        if count_rest:
            for status, number in hidden.items():
                print(
                    f"{number} more flows are {status}; see houston list --status {status}", file=sys.stderr
                )
