"""Tools of schedulers, such as `squeue` or `ssh`, run with a limit of time."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Final

from mc.errors import ExecutorError
from mc.printable import printable

__all__ = ["SUBMIT_SECONDS", "ToolError", "run_tool"]

SUBMIT_SECONDS: Final = 20.0  # in which one more call begins: a batch takes less than a minute
_CALL_SECONDS: Final = 30.0
_SHOWN: Final = 200  # characters of a command
_SAID: Final = 2_000  # characters of what it wrote


class ToolError(ExecutorError):
    """The tool of a scheduler failed or did not answer.

    Attributes:
        said: what it wrote to stderr.
        answered: whether it ended by itself, and so refused; else nobody knows what became of the call.
        refusal: what it said, and then the call; only where it answered.
    """


def run_tool(
    argv: Sequence[str],
    *,
    text: str = "",
    env: Mapping[str, str] | None = None,
    without: tuple[str, ...] = (),
) -> str:
    """Return what a tool writes to stdout.

    It is not interrupted by the terminal, because it may be in the middle of submitting. It is given none of
    the secrets of jobs, which schedulers would store with the environment.

    Args:
        argv: program and arguments.
        text: that it reads.
        env: laid over the environment.
        without: beginnings of names of variables that are taken out of the environment.

    Raises:
        ToolError: it cannot be run, failed, or did not answer in half a minute.
    """
    shown = f"`{printable(shlex.join(argv), _SHOWN)}`"
    dropped = ("MC_SECRET_", *without)
    own = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    # Files, not pipes: what a tool leaves behind, as ssh does, would hold a pipe open.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(text.encode("utf-8", "surrogateescape"))
        given.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - whoever wrote the settings named it
                argv,
                stdin=given,
                stdout=out,
                stderr=err,
                env={**own, **(env or {})},
                process_group=0,
            )
        except OSError as error:
            raise ToolError(
                f"{shown} cannot be run here: {error.strerror}. Install {argv[0]} on this host, or "
                f"tick where it is.",
                said="",
                answered=False,
            ) from error
        try:
            code = process.wait(_CALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise ToolError(
                f"{shown} did not answer within {_CALL_SECONDS:g} s.", said="", answered=False
            ) from error
        out.seek(0)
        err.seek(0)
        if code == 0:
            return out.read().decode("utf-8", "surrogateescape")
        said = (err.read() or out.read())[-_SAID:].decode("utf-8", "replace").strip()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise ToolError(
        f"{shown} {how}: {said or 'it said nothing'}",
        said=said,
        answered=code > 0,
        refusal=f"{'; '.join(said.splitlines()) or 'it did not say why'} ({shown} {how})",
    )
