"""A process that the self-test starts, listens to and kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Final, Self

__all__ = ["Child"]

_MODULE: Final = "mc.runners.self_test.process"


class Child:
    """Starts when it is made, and does its work when it is ready.

    Args:
        role: what it does.
        url: of the database; handed over by a pipe, because others can read command lines.
    """

    def __init__(self, role: str, url: str) -> None:
        self._errors = TemporaryFile()  # noqa: SIM115 - closed with the process; a full pipe would stop it
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(),
        )
        self.say(json.dumps({"role": role, "url": url}))

    def await_ready(self) -> None:
        """Wait until it has loaded what it needs."""
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
        assert self._process.stdout is not None
        lines = self._process.stdout.read().splitlines()
        self._process.wait()
        return lines

    def kill(self) -> tuple[list[str], str]:
        """End it by SIGKILL.

        Returns:
            The lines of its stdout that are left, and what it said if it had failed before.
        """
        self._process.kill()
        lines = self.read_rest()
        error = ""
        if self._process.returncode > 0:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").split("\n")
            error = next((line for line in reversed(said) if line.strip()), "for no reason that it told")
        self.close()
        return lines, error

    def close(self) -> None:
        """End it if it still runs, and forget it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):  # an order that it did not live to read
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
