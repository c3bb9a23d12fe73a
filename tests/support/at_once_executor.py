"""An executor whose jobs come to what they are told, at the moment of their start, in files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mc.errors import ExecutorError
from mc.flows.jobs.executor import Channel, FolderJob, Liveness
from mc.jobs.script.job_files import write_json

__all__ = ["AtOnceExecutor"]


class AtOnceExecutor:
    """Runs nothing. A job's keyword `ends` says what becomes of its first attempt; later ones are COMPLETED.

    `COMPLETED` or `FAILED`: it leaves that outcome; `silently`: it is gone without one; `stopped`: it lives
    until it is stopped. All processes see the same, and one that starts a job twice finds it started.
    """

    survives_starter = True
    is_local = False
    max_workers: int | None = None
    channel = Channel.FOLDER
    is_pulled = False

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        for job in jobs:
            with (job.folder / "starts").open("a") as file:
                file.write("one\n")
            ends = job.job.work["kwargs"]["ends"] if job.job.attempt == 1 else "COMPLETED"
            if ends == "FAILED":
                _end(job.folder, "FAILED", error={"type": "ValueError", "message": "bad on purpose"})
            elif ends == "COMPLETED":
                _end(job.folder, "COMPLETED", result=job.job.key)
            elif ends == "silently":
                (job.folder / "gone").touch()
        return {job.job.key: str(job.folder) for job in jobs}

    def alive(self, native_ids: Sequence[str]) -> Mapping[str, Liveness]:
        return {each: Liveness.ALIVE if _lives(each) else Liveness.GONE for each in native_ids}

    def stop(self, native_ids: Sequence[str], *, force: bool = False) -> None:
        for each in filter(_lives, native_ids):
            _end(Path(each), "CANCELLED")

    def find(self, jobs: Sequence[FolderJob]) -> Mapping[str, str]:
        return {job.job.key: str(job.folder) for job in jobs if (job.folder / "starts").exists()}

    def check(self) -> None:
        return


def _end(folder: Path, status: str, **outcome: object) -> None:
    write_json(str(folder / "outcome.json"), {"version": 1, "status": status, **outcome})


def _lives(native_id: str) -> bool:
    return not any((Path(native_id) / name).exists() for name in ("outcome.json", "gone"))
