"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: str | Path, text: str) -> None:
    """Write a text file in the place of what is there, flushed to the disk.

    A device or a pipe is written to directly, since it cannot be replaced.

    Raises:
        OSError: it cannot be written; `filename` is the path, and what was there is unchanged.
    """
    target = Path(path).resolve()
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
        else:
            _replace(target, text)
    except OSError as error:
        # The name of the draft would tell nobody anything.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, text: str) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    file = draft.open("x", encoding="utf-8")
    try:
        with file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
