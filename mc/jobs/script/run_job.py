"""The script that runs the job in a folder, `python run_job.py FOLDER`, or those in many, `--batch`.

It needs Python 3.9 or later and the files beside it, nothing else. Python compiles this file at each start,
the others once, so little stands here.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
__all__ = ["main"]

_USAGE = """usage: python run_job.py [--detach] [--timeout-seconds S] [--memory-bytes N]
                         [--outcome-seconds S] FOLDER
       python run_job.py --batch < REQUESTS

Runs the job that stands in FOLDER/job.json, once, and writes FOLDER/outcome.json.
With --detach it goes on in a process of its own, and stdout is closed when that has the job.
With --batch it runs each job that has a line of JSON on stdin, {"folder": ..., "timeout_seconds": ...,
"memory_bytes": ...}, in a process of its own, and prints for each line its number and who has the job.
"""
_WRONG_USAGE = 64


def main(arguments: list[str]) -> int:
    """Run a job; return the exit code."""
    options = {"--timeout-seconds": None, "--memory-bytes": None, "--outcome-seconds": 60.0}
    if arguments == ["--batch"]:
        return _run_batch()
    is_detached = False
    folders = []
    words = iter(arguments)
    try:
        for word in words:
            if word == "--detach":
                is_detached = True
            elif word in options:
                options[word] = float(next(words))
            elif word.startswith("-"):
                raise ValueError(word)
            else:
                folders.append(word)
        (folder,) = folders
    except (ValueError, StopIteration):
        os.write(2, _USAGE.encode())
        return _WRONG_USAGE
    if is_detached:
        if os.fork() != 0:
            return 0
        os.setsid()
    if TYPE_CHECKING or __package__:
        from mc.jobs.script.job_run import JobRun
    else:  # a script, and the files beside it
        from job_run import JobRun
    memory = options["--memory-bytes"]
    run = JobRun(
        folder,
        timeout_seconds=options["--timeout-seconds"],
        memory_bytes=None if memory is None else int(memory),
        outcome_seconds=options["--outcome-seconds"] or 0.0,
    )
    return run.run(_tell_and_close if is_detached else lambda _: None)


def _run_batch() -> int:
    if TYPE_CHECKING or __package__:
        from mc.jobs.script.job_batch import JobBatch
    else:  # a script, and the files beside it
        from job_batch import JobBatch
    JobBatch().run()
    return 0


def _tell_and_close(line: str) -> None:
    """Tell whoever started this process, and let it go on."""
    try:
        os.write(1, line.encode() + b"\n")
    except OSError:
        pass  # it has ended, the job goes on
    os.dup2(2, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
