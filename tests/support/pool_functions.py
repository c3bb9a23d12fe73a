"""Functions that jobs of pools call, in whatever process they run."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

__all__ = ["add", "be_killed_once", "fail", "fork", "print_and_change", "wait_for", "wait_once"]


def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


def fail() -> None:
    """Raise an error with a base class."""
    raise FileNotFoundError("no such table")


def wait_for(gate: str, begun: str, task_ctx: Any = None) -> str:
    """Tell that it has begun, and return when there is a file `gate`."""
    if task_ctx is not None:
        task_ctx.progress(0.4, "40 of 100")
    Path(begun).write_text(str(os.getpid()))
    while not Path(gate).exists():
        select.select((), (), (), 0.01)
    return "passed"


def wait_once(begun: str) -> str:
    """Wait for ever at the first call, and return at the next."""
    return "again" if Path(begun).exists() else wait_for(f"{begun}.gate", begun)


def be_killed_once(begun: str) -> str:
    """Kill the own process at the first call, and return at the next."""
    if Path(begun).exists():
        return "again"
    Path(begun).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "not killed"


def print_and_change() -> list[str]:
    """Print to both streams, and change what the process has of its surroundings."""
    print("to stdout")
    print("::progress 0.9 nearly")
    print("to stderr", file=sys.stderr)
    before = [str(Path.cwd()), os.environ.get("MC_TASK", ""), os.environ.get("LEFT", "nothing")]
    os.chdir("/")
    os.environ["LEFT"] = "something"
    return before


def fork() -> str:
    """Come back twice, as whoever forks and forgets to end the child."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return "child" if not child else "parent"
