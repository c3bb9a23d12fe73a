"""Exit codes of the command and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

__all__ = ["EXIT_CODE_MEANINGS", "ExitCode"]


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    FLOW_FAILED = 1
    NEEDS_A_PERSON = 1  # the same for a shell: look at what was said
    BAD_INPUT = 2
    STORE_UNREACHABLE = 3
    UNFINISHED = 4
    BUG = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODE_MEANINGS: Final[Mapping[ExitCode, str]] = MappingProxyType(
    {
        ExitCode.DONE: "done, or nothing to do",
        ExitCode.FLOW_FAILED: "a flow failed or is BLOCKED; doctor: something needs a person",
        ExitCode.BAD_INPUT: "bad usage, or a bad spec",
        ExitCode.STORE_UNREACHABLE: "the store cannot be reached or used",
        ExitCode.UNFINISHED: "unfinished: time ran out, SIGTERM came, or the flow waits for an event",
        ExitCode.BUG: "a bug in houston itself; --debug shows the traceback",
        ExitCode.INTERRUPTED: "interrupted by Ctrl-C, or by a no; what was done is saved",
        ExitCode.BROKEN_PIPE: "the reader of the output went away",
    }
)
