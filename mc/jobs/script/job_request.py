"""Request to run a job: a line of JSON, for which batches and the job server fork a process."""

from __future__ import annotations

import json
import os
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import keep_trouble, note_trouble
    from mc.jobs.script.job_run import JobRun
else:  # a script, and the files beside it
    from job_files import keep_trouble, note_trouble
    from job_run import JobRun

__all__ = ["read_request", "run_request", "use_null_as_stdin"]


def read_request(line: bytes) -> dict[str, Any] | None:
    """Return `folder`, and perhaps `timeout_seconds` and `memory_bytes`; None: the line is no request."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) and isinstance(request.get("folder"), str) else None


def use_null_as_stdin() -> None:
    """Let nothing that is forked from now on read what this process does."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def run_request(request: dict[str, Any], tell: Callable[[str], None], is_served: bool = False) -> NoReturn:
    """Run a job in this process, which was forked for it, and end.

    What the script has to say goes to `script.log` in the job's folder.

    Args:
        request: from `read_request`.
        tell: is given the line of `JobRun.run`.
        is_served: whether a job server forked this process.
    """
    code = 1
    try:
        keep_trouble(os.path.join(request["folder"], "script.log"))

        def tell_and_close(line: str) -> None:
            tell(line)
            for fd in (1, 2):  # they are not this process's
                os.dup2(0, fd)

        run = JobRun(
            request["folder"],
            timeout_seconds=request.get("timeout_seconds"),
            memory_bytes=request.get("memory_bytes"),
            is_served=is_served,
        )
        code = run.run(tell_and_close)
    except BaseException:  # noqa: BLE001 - it must not go on with what its parent does
        note_trouble(traceback.format_exc())
    finally:
        os._exit(code)
