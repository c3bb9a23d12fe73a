"""The folder of a job, seen from outside: what is to be run there, how far it is, how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mc.errors import JobError
from mc.flows.jobs.job import Outcome
from mc.jobs.script.job_files import VERSION, read_json, write_all, write_json, write_whole

if TYPE_CHECKING:
    from mc.flows.jobs.job import Job

__all__ = ["JobClaim", "JobFolder", "JobProgress", "JobUnreadableError", "replace_json"]

_STREAMS: Final = ("stdout", "stderr")


class JobUnreadableError(JobError):
    """Files of the job cannot be read from here, or not now, which tells nothing of the job."""

    code = "job-unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClaim:
    """The process that runs a job, or ran it.

    Attributes:
        host: its name.
        pid: of the process there.
        boot_id: what tells that start of the host from others; empty where the host does not say.
        started: when the process began, in clock ticks since then; 0 where the host does not say.
        at: when the folder was claimed, ISO 8601.
    """

    host: str
    pid: int
    boot_id: str
    started: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job says that it is.

    Attributes:
        fraction: from 0 to 1; None: it does not say.
        text: for people.
        at: when it said so, ISO 8601.
    """

    fraction: float | None
    text: str
    at: str


class JobFolder:
    """What one attempt of a job needs and leaves, as files; see `docs/reference/job-folder.md`.

    Each method reads what is there at that moment. What is not there yet is None; what is there and cannot be
    understood is a `JobError`.

    Args:
        path: of the folder, which `write_job` makes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def of(cls, data_folder: str | os.PathLike[str], key: str) -> Self:
        """Return the folder of the job with that key below a data folder."""
        name = hashlib.sha256(key.encode()).hexdigest()
        return cls(Path(data_folder) / "jobs" / name[:2] / name)

    def write_job(
        self,
        job: Job,
        *,
        grace_seconds: float = 10,
        heartbeat_seconds: float = 5,
        log_limit_bytes: int = 10 * 1024 * 1024,
        output_limit: int = 65536,
        secrets_folder: str | os.PathLike[str] | None = None,
        then: Mapping[str, Any] | None = None,
        is_durable: bool = True,
        cpus: int | None = None,
    ) -> None:
        """Make the folder and write all that the job needs; the same job may be written again.

        Args:
            job: what is to be run.
            grace_seconds: from the request to end until it is forced.
            heartbeat_seconds: between two signs of life.
            log_limit_bytes: of each of its logs; more is left out in the middle.
            output_limit: bytes of each of stdout and stderr that the outcome holds, unless the work says.
            secrets_folder: where the job's place has a file for each secret; None: only its environment.
            then: a command that is run when the outcome is written: `argv`, and where it is known `lock` and
                `attended_by`; see `mc.jobs.attendance`.
            is_durable: whether it is to be there after a loss of power.
            cpus: so many cores of its host may be used by all its processes together; None: all.

        Raises:
            JobError: it cannot be written.
        """
        record = {
            "version": VERSION,
            "key": job.key,
            "flow_key": job.flow_key,
            "task": job.task_path,
            "attempt": job.attempt,
            "work": dict(job.work),
            "timeout_seconds": job.timeout_seconds,
            "cpus": cpus,
            "grace_seconds": grace_seconds,
            "heartbeat_seconds": heartbeat_seconds,
            "log_limit_bytes": log_limit_bytes,
            "output_limit": output_limit,
            "secrets_folder": None if secrets_folder is None else os.fspath(secrets_folder),
            "then": None if then is None else dict(then),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            if is_durable:
                write_json(str(self.path / "job.json"), record)
            else:
                replace_json(self.path / "job.json", record)
        except OSError as error:
            raise JobError(
                f"The folder {self.path} of job {job.key!r} cannot be written: {error.strerror}. Make room "
                f"there and see who may write, or set another data folder.",
                path=str(self.path),
            ) from error

    def read_claim(self) -> JobClaim | None:
        """Return who runs the job, or ran it.

        Raises:
            JobError: the claim is damaged, or only half written yet.
        """
        record = self._read("claim.json")
        if record is None:
            return None
        try:
            return JobClaim(
                host=str(record["host"]),
                pid=int(record["pid"]),
                boot_id=str(record["boot_id"]),
                started=int(record["started"]),
                at=str(record["at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged("claim.json", f"it holds no claim ({error!r})") from error

    def is_claimed(self) -> bool:
        """Tell whether a process has taken the job, however readable its claim is."""
        return (self.path / "claim.json").exists()

    def read_progress(self) -> JobProgress | None:
        """Return how far the job says that it is.

        Raises:
            JobError: the file is damaged.
        """
        record = self._read("progress.json")
        if record is None:
            return None
        fraction = record.get("fraction")
        if not isinstance(fraction, int | float | None) or isinstance(fraction, bool):
            raise self._damaged("progress.json", "`fraction` is no number")
        return JobProgress(fraction=fraction, text=str(record.get("text", "")), at=str(record.get("at", "")))

    def read_heartbeat(self) -> datetime | None:
        """Return when the job gave its last sign of life, by the clock of the disk; None: none yet."""
        try:
            return datetime.fromtimestamp((self.path / "heartbeat").stat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable("heartbeat", error) from error

    def read_outcome(self) -> Outcome | None:
        """Return how the job ended; None as long as it has not said so.

        Raises:
            JobUnreadableError: it cannot be read from here, or not now.
            JobError: the file is damaged, or of a version that is not known here.
        """
        record = self._read("outcome.json")
        if record is None:
            return None
        if record.get("version") != VERSION:
            raise self._damaged(
                "outcome.json", f"it is of version {record.get('version')!r}, and {VERSION} is known here"
            )
        if record.get("status") not in ("COMPLETED", "FAILED", "CANCELLED"):
            raise self._damaged("outcome.json", f"its status is {record.get('status')!r}")
        return Outcome.from_dict({name: value for name, value in record.items() if name != "result_apart"})

    def read_log(self, stream: str, from_byte: int = 0, limit: int | None = None) -> bytes:
        """Return what the job wrote to `stdout` or `stderr`, as much as is there by now.

        Args:
            stream: `stdout` or `stderr`.
            from_byte: where to begin, so that a reader can follow what grows.
            limit: of the bytes that are returned; None: all.

        Raises:
            JobError: it cannot be read.
            ValueError: there is no such stream.
        """
        if stream not in _STREAMS:
            raise ValueError(f"{stream!r} is no log of a job; expected one of {', '.join(_STREAMS)}")
        try:
            with (self.path / stream).open("rb") as file:
                file.seek(from_byte)
                return file.read(-1 if limit is None else limit)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._unreadable(stream, error) from error

    def ask_to_stop(self) -> None:
        """Ask the job to end, wherever it runs; it looks about once a second.

        Raises:
            JobError: that cannot be written.
        """
        try:
            write_whole(str(self.path / "stop"), b"")
        except OSError as error:
            raise JobError(
                f"The job in {self.path} cannot be asked to stop: {error.strerror}.", path=str(self.path)
            ) from error

    def remove(self) -> None:
        """Delete the folder with all that is in it; harmless where there is none.

        Raises:
            JobError: something cannot be deleted.
        """
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise JobError(
                f"The folder {self.path} cannot be deleted: {error.strerror}.", path=str(self.path)
            ) from error

    def _read(self, name: str) -> Mapping[str, Any] | None:
        try:
            record = read_json(str(self.path / name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(name, error) from error
        except ValueError as error:
            raise self._damaged(name, f"it is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise self._damaged(name, "it holds no object")
        return record

    def _damaged(self, name: str, why: str) -> JobError:
        return JobError(
            f"{self.path / name} is damaged: {why}. Look at the disk, and retry the job.",
            path=str(self.path / name),
        )

    def _unreadable(self, name: str, error: OSError) -> JobUnreadableError:
        return JobUnreadableError(
            f"{self.path / name} cannot be read: {error.strerror}. See who may read it, and whether its disk "
            f"is there.",
            path=str(self.path / name),
        )


def replace_json(path: Path, value: Any, put: Callable[[Path, Path], None] = os.replace) -> None:
    """Write JSON to a file, which is there whole or not at all; but a loss of power may empty it.

    Args:
        path: of the file.
        value: JSON.
        put: what gives the file its name; with `os.link` it is not written where there is one.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - the file is open
            write_all(file.fileno(), json.dumps(value, allow_nan=False).encode())
        put(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink()
