"""A process that the self-test starts, listens to and kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import mc

__all__ = ["Child"]

_MODULE: Final = "mc.runners.self_test_process"
_PATIENCE: Final = 60.0  # seconds


class Child:
    """Begins at once, and is ready when it is made.

    Args:
        role: what it does.
        url: of the database; handed over by a pipe, because others can read command lines.
    """

    def __init__(self, role: str, url: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        self.say(json.dumps({"role": role, "url": url}))
        self.read_line()

    def say(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended; what it wrote tells why

    def read_line(self) -> str:
        """Return the next line of its stdout, without the end of the line; empty if it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def read_rest(self) -> list[str]:
        """Wait for its end, and return the lines that are left."""
        out, _ = self._process.communicate(timeout=_PATIENCE)
        return out.splitlines()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.communicate(timeout=_PATIENCE)

    def kill(self) -> tuple[list[str], str]:
        """End it by SIGKILL.

        Returns:
            The lines of its stdout that are left, and what it said if it had failed before.
        """
        self._process.kill()
        out, error = self._process.communicate(timeout=_PATIENCE)
        failed = self._process.returncode > 0
        return out.splitlines(), (error.strip().splitlines() or ["unknown"])[-1] if failed else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def _environment() -> dict[str, str]:
    root = str(Path(mc.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
