"""The executor `manual`: jobs whose work directories people build, carry somewhere, run, and take in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mc.errors import ExecutorError, JobError
from mc.flows.handlers.job_modules import CARRY_OUT
from mc.flows.jobs.executor import BY_HAND, Channel, FolderJob, Liveness
from mc.jobs.folder import JobFolder

__all__ = ["ManualExecutor"]


class ManualExecutor:
    """Starts nothing: a job waits, for as long as it takes, until its work directory is taken in."""

    survives_starter = True
    is_local = False
    max_workers: int | None = None
    channel = Channel.FOLDER
    is_pulled = False

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Take over jobs, of which only those of job modules can be done by hand."""
        return {job.job.key: self._take(job) for job in jobs}

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        """Tell that jobs wait, unless they were asked to stop."""
        return {
            each: Liveness.GONE if (_folder(each).path / "stop").exists() else Liveness.ALIVE
            for each in native_ids
        }

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        """Let jobs wait no longer; whatever runs of them somewhere is not known here, and comes too late."""
        for each in native_ids:
            folder = _folder(each)
            if folder.path.is_dir():  # it is on the host that took the job
                try:
                    folder.ask_to_stop()
                except JobError as error:
                    raise ExecutorError(error.message) from error

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        """Return none: to take one over again does no harm."""
        return {}

    def check(self) -> None:
        """Do nothing: there is nothing to reach."""

    def _take(self, job: FolderJob) -> str | ExecutorError:
        if job.job.work.get("function") != CARRY_OUT:
            return ExecutorError(
                f"The job {job.job.key!r} cannot be done by hand: only those of job modules have a work "
                f"directory that can be built and carried. Name another executor for its task."
            )
        return f"{BY_HAND}{job.folder}"


def _folder(native_id: str) -> JobFolder:
    return JobFolder(Path(native_id.removeprefix(BY_HAND)))
