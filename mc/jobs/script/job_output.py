"""Output of a job's command: masked, kept in a log of bounded length, and looked through for progress."""

from __future__ import annotations

import os
import re
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import write_all
else:  # a script, and the files beside it
    from job_files import write_all

__all__ = ["LogFile", "OutputStream", "OutputTail", "ProgressLines", "SecretMask"]

_MASK = b"***"
_PROGRESS = b"::progress"
_PIECE = 8192  # bytes
_LINE_LIMIT = 4096  # bytes of a line in which progress is looked for


class SecretMask:
    """Puts `***` in the place of secrets, also of those that are split between two pieces."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {value.encode("utf-8", "surrogateescape") for value in secrets}
        # A key of many lines is often printed line by line.
        lines = {line.strip() for value in values if b"\n" in value for line in value.split(b"\n")}
        values |= {line for line in lines if len(line) >= 8}
        self._values = sorted(filter(None, values), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._values))) if self._values else None
        self._kept = b""

    def copy(self) -> SecretMask:
        """Return a mask of the same secrets for another stream."""
        mask = SecretMask(())
        mask._values, mask._pattern = self._values, self._pattern
        return mask

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown by now; what may be the beginning of a secret waits for what follows."""
        if self._pattern is None:
            return data
        data = self._kept + data
        undecided = self._find_undecided(data)
        shown, place = [], 0
        for match in self._pattern.finditer(data):
            if match.start() >= undecided:
                break
            shown += [data[place : match.start()], _MASK]
            place = match.end()
        end = max(place, undecided)
        self._kept = data[end:]
        return b"".join([*shown, data[place:end]])

    def flush(self) -> bytes:
        """Return what waited, now that nothing follows."""
        kept, self._kept = self._kept, b""
        return self.mask_bytes(kept)

    def mask_bytes(self, data: bytes) -> bytes:
        """Mask something that is whole."""
        return data if self._pattern is None else self._pattern.sub(_MASK, data)

    def mask_text(self, text: str) -> str:
        """Mask a text that is whole."""
        if self._pattern is None:
            return text
        return self.mask_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def mask_json(self, value: object) -> object:
        """Return a JSON value with all its texts masked, those that are keys too."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, list):
            return [self.mask_json(part) for part in value]
        if isinstance(value, dict):
            return {self.mask_text(key): self.mask_json(part) for key, part in value.items()}
        return value

    def _find_undecided(self, data: bytes) -> int:
        """Return where the longest end of the data begins that may be the beginning of a secret."""
        longest = len(self._values[0]) - 1
        for start in range(max(0, len(data) - longest), len(data)):
            end = data[start:]
            if any(len(value) > len(end) and value.startswith(end) for value in self._values):
                return start
        return len(data)


class OutputTail:
    """The last bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        """Take what follows."""
        if self._pieces and len(self._pieces[-1]) < _PIECE:
            self._pieces[-1] += data  # or many small writes would take many times their size
        else:
            self._pieces.append(data)
        self._size += len(data)
        while self._pieces and self._size - len(self._pieces[0]) >= self._limit:
            dropped = len(self._pieces.popleft())
            self._size -= dropped
            self._left_out += dropped

    def end(self, limit: int | None = None) -> tuple[int, bytes]:
        """Return how many bytes came before, and the last ones, at most `limit`."""
        limit = self._limit if limit is None else min(limit, self._limit)
        data = b"".join(self._pieces)
        cut = max(0, len(data) - limit)
        return self._left_out + cut, data[cut:]

    def read_text(self, limit: int | None = None) -> str:
        r"""Return the last bytes as text, what is not UTF-8 as `\xNN`, and say what was left out."""
        before, data = self.end(limit)
        if not before:
            return data.decode("utf-8", "backslashreplace")
        start = 0  # of a character: the rest of one that was cut is left out too
        while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
            start += 1
        text = data[start:].decode("utf-8", "backslashreplace")
        return f"... ({before + start} bytes before this are in the log)\n{text}"


class LogFile:
    """A log of bounded length: its first half is written as it comes, its last half at the end.

    It is made when there is something to write: each file of a job takes time.

    Attributes:
        trouble: why not all could be written, in one sentence.
    """

    def __init__(self, path: str, limit: int) -> None:
        self.trouble: str | None = None
        self._path = path
        self._room = limit - limit // 2
        self._tail = OutputTail(limit // 2)
        self._fd = -1
        self._lost = 0

    def feed(self, data: bytes) -> None:
        """Take what follows."""
        head, rest = data[: self._room], data[self._room :]
        if head:
            self._room -= len(head)
            self._write(head)
        if rest:
            self._tail.feed(rest)

    def close(self) -> None:
        """Write the last half, and between them how much is missing."""
        before, data = self._tail.end()
        if before:
            self._write(f"\n... ({before} bytes are left out here)\n".encode())
        if data:
            self._write(data)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.trouble is not None:
            self.trouble = f"{self.trouble} {self._lost} bytes were not kept."

    def _write(self, data: bytes) -> None:
        if self._fd < 0 and self.trouble is None:
            self._open()
        if self.trouble is not None:
            self._lost += len(data)
            return
        before = os.lseek(self._fd, 0, os.SEEK_CUR)
        try:
            write_all(self._fd, data)
        except OSError as error:
            self._lost += len(data) - (os.lseek(self._fd, 0, os.SEEK_CUR) - before)
            self._note(error)

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        self.trouble = (
            f"The log {os.path.basename(self._path)} was cut: {error.strerror}; make room on its disk."
        )


class ProgressLines:
    """Lines `::progress 0.4 text` in a stream."""

    def __init__(self, tell: Callable[[float | None, str], None]) -> None:
        self._tell = tell
        self._line = b""  # the one that has not ended

    def feed(self, data: bytes) -> None:
        """Take what follows."""
        data = self._line + data
        *lines, rest = data.split(b"\n") if _PROGRESS in data else (data[data.rfind(b"\n") + 1 :],)
        self._line = rest[:_LINE_LIMIT]
        for line in lines:
            self._read(line)

    def flush(self) -> None:
        """Take the line that has not ended as one that has."""
        self._read(self._line)
        self._line = b""

    def _read(self, line: bytes) -> None:
        if not line.startswith(_PROGRESS + b" "):
            return
        text = line[len(_PROGRESS) :].decode("utf-8", "backslashreplace").strip()
        word, _, rest = text.partition(" ")
        fraction = read_fraction(word)
        self._tell(fraction, text if fraction is None and word != "-" else rest.strip())


def read_fraction(value: object) -> float | None:
    """Return a number from 0 to 1, which may stand in a text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        fraction = float(value)
    except (ValueError, OverflowError):
        return None
    return fraction if 0 <= fraction <= 1 else None


class OutputStream:
    """One stream of a command: masked, then given to its log, to what is kept of it, and to a listener."""

    def __init__(self, log: LogFile, tail: OutputTail, mask: SecretMask, lines: ProgressLines | None) -> None:
        self.log = log
        self.tail = tail
        self._mask = mask
        self._lines = lines

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._hand_on(self._mask.feed(data))

    def close(self) -> None:
        """Take it that nothing follows."""
        self._hand_on(self._mask.flush())
        if self._lines is not None:
            self._lines.flush()
        self.log.close()

    def _hand_on(self, data: bytes) -> None:
        if data:
            self.log.feed(data)
            self.tail.feed(data)
            if self._lines is not None:
                self._lines.feed(data)
