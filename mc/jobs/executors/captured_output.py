"""Output of this process, taken for a while as that of a job whose function it calls."""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from mc.jobs.script.job_output import LogFile, OutputStream, OutputTail, ProgressLines, SecretMask

__all__ = ["CapturedOutput"]

_READ: Final = 65536  # bytes
_LAST_READS: Final = 64  # after the end, which empties the largest pipe, whoever still writes into it
_STREAMS: Final = {1: "stdout", 2: "stderr"}


class CapturedOutput:
    """Within its block stdout and stderr of the process go to the logs of a job, as the script keeps them.

    Args:
        folder: of the job.
        job: from `job.json`.
        mask: of the secrets that the function is given.
        tell_progress: told of lines `::progress 0.4 text` on stdout.
    """

    def __init__(
        self,
        folder: Path,
        job: Mapping[str, Any],
        mask: SecretMask,
        tell_progress: Callable[[float | None, str], None],
    ) -> None:
        limit = int(job.get("log_limit_bytes", 10485760))
        kept = job["work"].get("output_limit")
        self._kept = int(job.get("output_limit", 65536) if kept is None else kept)
        self._streams = {
            fd: OutputStream(
                LogFile(str(folder / name), limit),
                OutputTail(self._kept),
                mask.copy(),
                ProgressLines(tell_progress) if name == "stdout" else None,
            )
            for fd, name in _STREAMS.items()
        }
        self._own: dict[int, int] = {}  # what stood in the place of each stream
        self._selector = selectors.DefaultSelector()
        self._wake_out = -1
        self._reader = Thread(target=self._read, name="mc-job-output", daemon=True)

    def describe(self) -> dict[str, Any]:
        """Return what an outcome says of the output, when the block has ended."""
        streams = {name: self._streams[fd] for fd, name in _STREAMS.items()}
        found: dict[str, Any] = {name: each.tail.read_text(self._kept) for name, each in streams.items()}
        troubles = [each.log.trouble for each in streams.values() if each.log.trouble]
        return {**found, "usage": {"log_trouble": " ".join(troubles)}} if troubles else found

    def __enter__(self) -> Self:
        _flush()
        wake_in, self._wake_out = os.pipe()
        self._selector.register(wake_in, selectors.EVENT_READ)
        for fd, stream in self._streams.items():
            pipe_in, pipe_out = os.pipe()
            os.set_blocking(pipe_in, False)
            self._selector.register(pipe_in, selectors.EVENT_READ, stream)
            self._own[fd] = os.dup(fd)
            os.dup2(pipe_out, fd)
            os.close(pipe_out)
        self._reader.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        _flush()
        for fd, own in self._own.items():
            os.dup2(own, fd)
            os.close(own)
        os.close(self._wake_out)
        self._reader.join()

    def _read(self) -> None:
        """Read until the block has ended, and then what is there; what it started may hold the pipes open."""
        left = _LAST_READS
        has_ended = False
        while left:
            events = self._selector.select(0 if has_ended else None)
            if has_ended and not events:
                break
            left -= has_ended
            for key, _ in events:
                if key.data is None:
                    has_ended = True
                elif data := os.read(key.fd, _READ):
                    key.data.feed(data)
                    continue
                self._selector.unregister(key.fd)
                os.close(key.fd)
        for key in [*self._selector.get_map().values()]:
            os.close(key.fd)
        self._selector.close()
        for stream in self._streams.values():
            stream.close()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a function closed it
            stream.flush()
