"""An executor whose jobs do what a test says, when it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.script.job_files import write_json

__all__ = ["HandDrivenExecutor", "HandDrivenWorkers"]


class HandDrivenExecutor:
    """Starts nothing; what became of its jobs is noted by tests. One for all keepers of the process.

    Attributes:
        started: jobs by what they are called here, in the order in which they were started.
        starts: keys of all jobs that it was asked to start.
        dead: those that do not run any more.
        unseen: those of which nothing can be said.
        stopped: those that it was asked to stop.
        killed: those that it was to end by force.
        refused: a sentence by task path, of jobs that can never be started.
        is_down: whether it cannot be reached.
        forgets: whether it takes jobs and its answer is lost.
    """

    survives_starter = True
    is_local = False
    channel = Channel.FOLDER
    is_pulled = False
    started: ClassVar[dict[str, FolderJob]] = {}
    starts: ClassVar[list[str]] = []
    dead: ClassVar[set[str]] = set()
    unseen: ClassVar[set[str]] = set()
    stopped: ClassVar[list[str]] = []
    killed: ClassVar[list[str]] = []
    refused: ClassVar[dict[str, str]] = {}
    is_down: ClassVar[bool] = False
    forgets: ClassVar[bool] = False

    def __init__(self, max_workers: int | None = None) -> None:
        self.max_workers = max_workers

    @classmethod
    def reset(cls) -> None:
        """Begin anew."""
        for kept in (cls.started, cls.starts, cls.dead, cls.unseen, cls.stopped, cls.killed, cls.refused):
            kept.clear()
        cls.is_down = cls.forgets = False

    @classmethod
    def finish(cls, path: str, status: str = "COMPLETED", **outcome: Any) -> None:
        """Let the newest job of a task leave its outcome, and end."""
        native_id = cls.newest(path)
        job = cls.started[native_id]
        record = {"version": 1, "key": job.job.key, "status": status, **outcome}
        write_json(str(job.folder / "outcome.json"), record)
        cls.dead.add(native_id)

    @classmethod
    def newest(cls, path: str) -> str:
        """Return what the newest job of a task is called here."""
        return [name for name, job in cls.started.items() if job.job.task_path == path][-1]

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        if self.is_down:
            raise ExecutorError("The cluster does not answer.")
        answers: dict[str, str | ExecutorError] = {}
        for job in jobs:
            self.starts.append(job.job.key)
            if job.job.task_path in self.refused:
                answers[job.job.key] = ExecutorError(self.refused[job.job.task_path])
                continue
            native_id = f"hand:{len(self.started)}"
            self.started[native_id] = job
            answers[job.job.key] = native_id
        if self.forgets:
            raise KeyboardInterrupt  # the starter vanishes
        return answers

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        return {
            name: Liveness.GONE if name in self.dead else Liveness.ALIVE
            for name in native_ids
            if name not in self.unseen
        }

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        (self.killed if force else self.stopped).extend(native_ids)

    def check(self) -> None:
        if self.is_down:
            raise ExecutorError("The cluster does not answer.")

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        keys = {job.job.key for job in jobs}
        return {job.job.key: name for name, job in self.started.items() if job.job.key in keys}


class HandDrivenWorkers(HandDrivenExecutor):
    """Sends jobs to workers, which tests play: they take and end jobs in the database."""

    channel = Channel.DATABASE
