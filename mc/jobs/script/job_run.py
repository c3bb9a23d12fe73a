"""Run of the job in a folder, from its claim to its outcome."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import claim_folder, make_claim, note_trouble
    from mc.jobs.script.job_outcome import (
        describe_end,
        describe_error,
        describe_start_error,
        make_outcome,
        write_outcome,
    )
    from mc.jobs.script.job_output import SecretMask
    from mc.jobs.script.job_supervisor import Supervisor
    from mc.jobs.script.job_then import begin_then
    from mc.jobs.script.job_work import (
        Command,
        JobFileError,
        SecretError,
        SecretReader,
        make_command,
        read_job,
    )
else:  # a script, and the files beside it
    from job_files import claim_folder, make_claim, note_trouble
    from job_outcome import describe_end, describe_error, describe_start_error, make_outcome, write_outcome
    from job_output import SecretMask
    from job_supervisor import Supervisor
    from job_then import begin_then
    from job_work import JobFileError, SecretError, SecretReader, make_command, read_job

__all__ = ["CANNOT_WRITE", "TAKEN", "JobRun"]

TAKEN = 75  # exit code: another process runs the job, or ran it
CANNOT_WRITE = 74  # exit code: the claim or the outcome could not be written
_NOT_COMPLETED = 1


class JobRun:
    """The run of one job.

    Args:
        folder: of the job.
        timeout_seconds: of the executor, besides that of the job; None: no limit.
        memory_bytes: of address space for each process of the command; None: no limit.
        outcome_seconds: for how long writing the outcome is tried.
        is_served: whether a job server forked this process: a function is called in another one that is
            forked, and a signal to end means that the server, or its worker, ends.
    """

    def __init__(
        self,
        folder: str,
        timeout_seconds: float | None = None,
        memory_bytes: int | None = None,
        outcome_seconds: float = 60.0,
        is_served: bool = False,
    ) -> None:
        self._folder = os.path.abspath(folder)
        self._timeout_seconds = timeout_seconds
        self._memory_bytes = memory_bytes
        self._outcome_seconds = outcome_seconds
        self._is_served = is_served
        self._is_stopping = False

    def run(self, tell: Callable[[str], None]) -> int:
        """Claim the folder, run the job and write its outcome.

        Args:
            tell: is given one line as soon as it is known whether this process has the job:
                `claimed PID STARTED` or `taken`.

        Returns:
            The exit code: 0 COMPLETED, 1 FAILED or CANCELLED, 74 the claim or the outcome could not be
            written, 75 the job was claimed already.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it goes on when its terminal is closed
        claim = make_claim()
        try:
            is_mine = claim_folder(self._folder, claim)
        except OSError as error:
            note_trouble(f"{self._folder} cannot be claimed: {error.strerror}")
            return CANNOT_WRITE
        if not is_mine:
            tell("taken")
            return TAKEN
        tell(f"claimed {claim['pid']} {claim['started']}")
        return self._run_claimed(claim)

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    def _run_claimed(self, claim: dict[str, Any]) -> int:
        began = time.time()
        job: dict[str, Any] = {}
        try:
            job = read_job(self._folder)
            end = self._carry_out(job, f"{claim['pid']}:{claim['started']}")
        except JobFileError as error:
            end = describe_error(str(error), "JobError", "McError")
        except SecretError as error:
            end = describe_error(str(error), "SecretError")
        outcome = make_outcome(job, began, end)
        if not write_outcome(self._folder, outcome, self._outcome_seconds):
            return CANNOT_WRITE
        if job.get("then"):
            begin_then(job["then"], os.path.join(self._folder, "then.log"))
        return 0 if outcome["status"] == "COMPLETED" else _NOT_COMPLETED

    def _carry_out(self, job: dict[str, Any], mark: str) -> dict[str, Any]:
        if os.path.exists(os.path.join(self._folder, "stop")):
            return {"status": "CANCELLED"}
        if self._is_stopping:
            return self._describe_signal()
        if job.get("cpus"):
            _keep_to_cores(int(job["cpus"]))
        secrets = SecretReader(os.environ, job.get("secrets_folder"))
        command = make_command(job, self._folder, secrets, mark)
        mask = SecretMask(secrets.values.values())
        timeouts = [each for each in (job.get("timeout_seconds"), self._timeout_seconds) if each is not None]
        timeout_seconds = min(timeouts, default=None)
        call = self._find_call(command)
        run = Supervisor(self._folder, job, command, mask, lambda: self._is_stopping, call)
        try:
            run.run(timeout_seconds, self._memory_bytes)
        except (OSError, ValueError) as error:
            if run.status is not None:
                raise
            return describe_start_error(error, command)
        if run.ended_by == "signal":
            return {**describe_end(run, command, mask, None, 0), **self._describe_signal()}
        return describe_end(run, command, mask, timeout_seconds, float(job.get("grace_seconds", 10)))

    def _find_call(self, command: Command) -> Callable[[], NoReturn] | None:
        """Return what calls the function of a command in a process that is forked for it."""
        call = command.call
        if not self._is_served or call is None:
            return None
        if TYPE_CHECKING or __package__:
            from mc.jobs.script.job_call import call_and_exit, can_call_here
        else:  # the job server has it already
            from job_call import call_and_exit, can_call_here
        return (lambda: call_and_exit(call)) if can_call_here(command.env) else None

    def _describe_signal(self) -> dict[str, Any]:
        """Return the end of a job whose process got a signal."""
        if not self._is_served:
            return {"status": "CANCELLED"}
        text = (
            "The worker that ran it was ended, and the job with it. It is tried again unless its task says "
        )
        return describe_error(text + "otherwise.", "JobLostError", "JobError", "McError")


def _keep_to_cores(number: int) -> None:
    """Let this process, and all that it starts, use so many cores, and libraries as many threads."""
    os.environ.setdefault("OMP_NUM_THREADS", str(number))
    if not hasattr(os, "sched_setaffinity"):
        return  # not Linux
    cores = sorted(os.sched_getaffinity(0))
    first = os.getpid() % len(cores)  # so that jobs side by side have others
    os.sched_setaffinity(0, (cores * 2)[first : first + number])
