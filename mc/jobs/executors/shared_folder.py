"""Data folder on a file system that hosts share: the script for them, and notes of what was submitted."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Final

from mc.errors import ExecutorError
from mc.flows.jobs.executor import FolderJob
from mc.jobs.script.job_files import read_json, write_json

__all__ = ["SubmissionNote", "make_name", "note_submission", "place_script", "read_submission"]

_SCRIPT_FOLDER: Final = Path(__file__).parents[1] / "script"
_NOTE: Final = "submission.json"
_NAME_CHARACTERS: Final = 40  # of the key in a name, all of which has to stay below 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionNote:
    """How a job is found again whose submission nobody took note of.

    Attributes:
        name: what it is called there, which no other submission is.
        index: which one it is of those that were submitted together under that name, from 0.
    """

    name: str
    index: int = 0


def make_name(job: FolderJob) -> str:
    """Return a name for a submission: lower-case letters, digits and `-`, which all schedulers take."""
    readable = re.sub(r"[^a-z0-9]+", "-", job.job.key.lower())[:_NAME_CHARACTERS].strip("-")
    return "-".join(part for part in ("mc", readable, uuid.uuid4().hex[:12]) if part)


def note_submission(job: FolderJob, submission: SubmissionNote) -> None:
    """Take note in a job's folder that it is being submitted.

    Raises:
        ExecutorError: the folder cannot be written.
    """
    try:
        write_json(str(job.folder / _NOTE), asdict(submission))
    except OSError as error:
        raise ExecutorError(
            f"The folder {job.folder} of job {job.job.key!r} cannot be written: {error.strerror}."
        ) from error


def read_submission(job: FolderJob) -> SubmissionNote | None:
    """Return under which name a job was submitted, or was about to be; None: it was not."""
    try:
        note = read_json(str(job.folder / _NOTE))
        return SubmissionNote(name=str(note["name"]), index=int(note["index"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExecutorError(
            f"{job.folder / _NOTE} of job {job.job.key!r} cannot be read: {error}. Look at the disk, and "
            f"retry the job."
        ) from error


def place_script(job: FolderJob) -> Path:
    """Return the script that runs jobs, put below the data folder where it is not there yet.

    Hosts that share the data folder find it there, whatever else is installed on them.

    Raises:
        ExecutorError: it cannot be written.
    """
    data_folder = job.folder.parents[2]
    place = data_folder / "script" / _digest()
    if not (place / "run_job.py").exists():
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
            try:
                for name in _script_files():
                    shutil.copyfile(_SCRIPT_FOLDER / name, beside / name)
                with suppress(FileExistsError):  # others put it there meanwhile
                    _rename_folder(beside, place)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        except OSError as error:
            raise ExecutorError(
                f"The script that runs jobs cannot be put into {place}: {error.strerror}. Make room there "
                f"and see who may write, or set another data folder."
            ) from error
    return place / "run_job.py"


def _rename_folder(folder: Path, place: Path) -> None:
    try:
        folder.rename(place)
    except OSError as error:
        if place.is_dir():
            raise FileExistsError(place) from error
        raise


def _script_files() -> list[str]:
    return sorted(path.name for path in _SCRIPT_FOLDER.glob("*.py"))


@cache
def _digest() -> str:
    """Return what tells this version of the script from others, whose jobs may still run."""
    digest = hashlib.sha256()
    for name in _script_files():
        digest.update(name.encode() + b"\0" + (_SCRIPT_FOLDER / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
