"""Call of a function in a forked process, as if an interpreter had been started for it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import traceback
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

if TYPE_CHECKING or __package__:
    from mc.jobs.script.call_function import carry_out
    from mc.jobs.script.job_work import CALL_FUNCTION
else:  # a script, and the files beside it
    from call_function import carry_out
    from job_work import CALL_FUNCTION

__all__ = ["call_and_exit", "can_call_here"]

# What an interpreter, its libraries and their loader read at their start.
_READ_AT_START = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "MALLOC_", "GLIBC_")


def can_call_here(env: Mapping[str, str]) -> bool:
    """Tell whether an interpreter that is started with an environment would be like this one."""
    return _read_at_start(env) == _read_at_start(os.environ)


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START)}


def call_and_exit(call: dict[str, Any]) -> NoReturn:
    """Carry out a call in this process, which was forked for it, and end as an interpreter does.

    Its environment, working folder and file descriptors are those of the job already.
    """
    code = 1
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        time.tzset()
        _hide_script()
        _open_streams()
        atexit._clear()
        carry_out(call)
        code = 0
    except BaseException:  # noqa: BLE001 - it must not go on with what its parent does
        traceback.print_exc()
    _end(code)


def _hide_script() -> None:
    """Let a function import its own modules of the names that the script's have, and none of the script's."""
    folder = os.path.dirname(CALL_FUNCTION)
    for name, module in list(sys.modules.items()):
        if os.path.dirname(getattr(module, "__file__", None) or "") == folder:
            del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")
    sys.argv = [CALL_FUNCTION]


def _open_streams() -> None:
    """Open stdin, stdout and stderr anew: what kind of files they are is read when they are opened."""
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        stream = open(fd, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _end(code: int) -> NoReturn:
    try:
        threading._shutdown()  # type: ignore[attr-defined] # waits for threads that are no daemons
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # noqa: BLE001 - of the function's handlers; it ends all the same
        code = code or 1
        traceback.print_exc()
    finally:
        os._exit(code)
