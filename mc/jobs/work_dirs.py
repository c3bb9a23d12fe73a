"""Work directories of job modules that are built, run and taken in by hand."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mc.durations import parse_time
from mc.errors import DurationError, JobError
from mc.flows.handlers.job_modules import CARRY_OUT, check_job_module
from mc.flows.jobs.executor import BY_HAND
from mc.flows.jobs.job import Outcome
from mc.flows.jobs.job_settings import ModuleSettings
from mc.jobs.script import job_module
from mc.jobs.script.call_function import NotJsonResultError, make_plain_json
from mc.jobs.script.job_module import JobModuleError, WorkDir
from mc.store.job_record import JobEnding

if TYPE_CHECKING:
    from mc.flows.handlers.callables import CallableFinder
    from mc.jobs.jobs import Jobs
    from mc.store.flow_store import FlowStore
    from mc.store.job_record import JobRecord

__all__ = ["TakenIn", "WorkDirError", "build_work_dir", "read_work", "run_work_dir", "take_in", "work_of"]

_LOG_BYTES: Final = 65536  # of each log, kept with the outcome
_LONGEST: Final = 4_000  # characters of what a directory from elsewhere says
_PARTS: Final = ("job_type", "params", "config", "fake")


class WorkDirError(JobError):
    """A work directory cannot be built, run or taken in; nothing was changed by it."""

    code = "work-dir"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenIn:
    """What became of a work directory that was taken in.

    Attributes:
        outcome: of its run.
        job_key: of the job that it was built for; None: for none.
        was_before: whether it had been taken in before, and nothing was changed.
    """

    outcome: Outcome
    job_key: str | None
    was_before: bool = False


def work_of(record: JobRecord) -> dict[str, Any]:
    """Return the work of a stored job, as it stands in its work directory.

    Raises:
        WorkDirError: it is not the work of a job module.
    """
    work = record.job.work
    if work.get("function") != CARRY_OUT:
        raise WorkDirError(
            f"Job {record.job.key!r} is not the work of a job module, so that there is no work directory to "
            f"build: its work is {work.get('function') or work.get('type')!r}.",
            key=record.job.key,
        )
    return {**_parts(work["kwargs"]), "job_key": record.job.key}


def build_work_dir(path: Path, work: Mapping[str, Any], callables: CallableFinder, executor: str) -> WorkDir:
    """Build a work directory that runs by `python3 run.py`, without this package, wherever it is carried.

    Args:
        path: of the directory, which is made; an empty one may be there.
        work: `job_type`, `params`, `config`, `fake`; `job_key` of the job that it is for, if there is one.
        callables: which code may be named.
        executor: whose settings `config` and `fake` are, for messages.

    Raises:
        WorkDirError: it cannot be built; what the module raised is its cause, and the directory is empty.
        McError: the module is not allowed, or none, or its config does not fit.
    """
    settings = ModuleSettings(config=work["config"], fake=bool(work.get("fake")))
    check_job_module(work["job_type"], callables, settings, executor)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise WorkDirError(
                f"{path} is not empty. Name a directory that is not there yet.", path=str(path)
            )
    except OSError as error:
        raise WorkDirError(f"{path} cannot be made: {error.strerror}.", path=str(path)) from error
    work_dir = WorkDir(path, {**work, "id": uuid.uuid4().hex})
    try:
        with _step(path):
            work_dir.build()
            _carry_module(work["job_type"], path / "modules")
            shutil.copyfile(job_module.__file__, path / "run.py")
    except BaseException:
        _empty(path)  # what is half built would be in the way of the next try
        raise
    return work_dir


def read_work(path: Path) -> WorkDir:
    """Return the work directory that was built there.

    Raises:
        WorkDirError: it is none.
    """
    with _step(path):
        return WorkDir.read(path)


def run_work_dir(path: Path) -> str:
    """Run a work directory in a process of its own, and return COMPLETED or FAILED.

    Raises:
        WorkDirError: it is none, is COMPLETED already, or its process left no mark.
    """
    work_dir = read_work(path)
    if work_dir.is_completed:
        raise WorkDirError(f"{path} was run already; it is COMPLETED.", path=str(path))
    subprocess.run([sys.executable, str(path / "run.py")], check=False)  # noqa: S603 - what a person asked for
    with _step(path):
        mark = work_dir.read_mark()
    if mark is None:
        raise WorkDirError(
            f"The run of {path} left no mark of its end: it was killed, or {path / 'run.py'} is damaged.",
            path=str(path),
        )
    return str(mark["status"])


def take_in(path: Path, callables: CallableFinder, store: FlowStore | None, jobs: Jobs | None) -> TakenIn:
    """Read how the run of a work directory ended, and end the job that it was built for, once.

    Args:
        path: of the directory.
        callables: which code may be named, for `parse`.
        store: of the job; None where it is known to be built for none.
        jobs: of the store.

    Raises:
        WorkDirError: it has not been run, cannot be parsed, or the job does not wait for it; nothing was
            changed.
        JobNotFoundError: the job is not stored.
        McError: the module is not allowed.
    """
    work_dir = read_work(path)
    with _step(path):
        mark = work_dir.read_mark()
    if mark is None:
        raise WorkDirError(
            f"{path} has no mark COMPLETED or FAILED: it was not run to its end, or not all of it was "
            f"brought back. `houston job run {path}` runs it here, `python3 run.py` in it elsewhere.",
            path=str(path),
        )
    key = work_dir.work.get("job_key")
    record = None
    if key is not None and store is not None and jobs is not None:
        record = jobs.get(str(key))
        if record.has_ended and record.outcome is not None and _is_from(record.outcome, work_dir):
            return TakenIn(outcome=record.outcome, job_key=key, was_before=True)
        _check_waits(record, work_dir)
    outcome = _make_outcome(work_dir, mark, callables)
    if record is not None and store is not None and jobs is not None:
        _keep_logs(path, jobs.folder(record.job.key).path)
        stored = jobs.set_result_apart(record, outcome)
        if not store.jobs.end([JobEnding(record=record, status=outcome.status, outcome=stored)]):
            record = jobs.get(record.job.key)
            if record.outcome is not None and _is_from(record.outcome, work_dir):
                return TakenIn(outcome=record.outcome, job_key=key, was_before=True)
            _check_waits(record, work_dir)
            raise WorkDirError(f"Job {key!r} was changed meanwhile; take the directory in again.", key=key)
    return TakenIn(outcome=outcome, job_key=key)


def _is_from(outcome: Outcome, work_dir: WorkDir) -> bool:
    return outcome.usage.get("work_dir") == work_dir.work.get("id")


def _check_waits(record: JobRecord, work_dir: WorkDir) -> None:
    """Check that a job waits for a work directory.

    Raises:
        WorkDirError: it does not.
    """
    key, details = record.job.key, {"key": record.job.key, "status": record.status}
    nothing = "nothing was changed"
    if record.has_ended:
        why = f" ({record.reason.rstrip('.')})" if record.reason else ""
        raise WorkDirError(
            f"Job {key!r} is {record.status} already{why}. {work_dir.path} came too late, and {nothing}. "
            f"`houston job list --flow {record.job.flow_key}` shows which attempts there are.",
            **details,
        )
    if record.native_id is None and record.status == "PENDING":
        raise WorkDirError(
            f"Job {key!r} was not handed to its executor yet, and {nothing}. A tick does that.", **details
        )
    if not str(record.native_id).startswith(BY_HAND):
        raise WorkDirError(
            f"Job {key!r} is done by the executor {record.job.executor!r} and waits for no work directory; "
            f"{nothing}. Directories are taken in for jobs of the executor 'manual'.",
            **details,
        )
    if record.stop_reason is not None:
        raise WorkDirError(
            f"Job {key!r} is asked to end ({record.stop_reason.rstrip('.')}); {nothing}.", **details
        )
    if _parts(work_of(record)) != _parts(work_dir.work):
        raise WorkDirError(
            f"{work_dir.path} was built for other work than that of job {key!r}: another `job_type`, "
            f"`params` or `config`. {nothing.capitalize()}; build the directory again.",
            **details,
        )


def _make_outcome(work_dir: WorkDir, mark: Mapping[str, Any], callables: CallableFinder) -> Outcome:
    told: dict[str, Any] = {name: _read_time(mark.get(name)) for name in ("started_at", "finished_at")}
    told |= {name: _read_end(work_dir.path / name) for name in ("stdout", "stderr")}
    told["host"] = str(mark["host"])[:255] if "host" in mark else None
    told["pid"] = mark["pid"] if isinstance(mark.get("pid"), int) else None
    told["usage"] = {"work_dir": work_dir.work.get("id")}
    if mark["status"] == "FAILED":
        return Outcome(status="FAILED", error=_read_error(mark.get("error")), **told)
    job_type = str(work_dir.work["job_type"])
    callables.find_function(f"{job_type}:parse")
    with _step(work_dir.path):
        result = work_dir.parse()
    try:
        result = make_plain_json(result, "/result", f"{job_type}:parse")
    except NotJsonResultError as error:
        raise WorkDirError(f"{error}", path=str(work_dir.path)) from None
    return Outcome(status="COMPLETED", result=result, **told)


def _read_error(error: Any) -> dict[str, Any]:
    found: dict[str, Any] = error if isinstance(error, dict) else {}
    types: Any = found.get("types")
    name = str(found.get("type") or "JobError")[:_LONGEST]
    message = found.get("message") or "The run failed, and its mark does not say why."
    read: dict[str, Any] = {"type": name, "message": str(message)[:_LONGEST]}
    read["types"] = [
        name,
        *(str(each)[:_LONGEST] for each in (types if isinstance(types, list) else ()) if each != name),
    ]
    if found.get("traceback"):
        read["traceback"] = str(found["traceback"])[-2 * _LONGEST :]
    return read


def _read_time(value: Any) -> str | None:
    try:
        return parse_time(value).isoformat(timespec="microseconds")
    except DurationError:
        return None


def _read_end(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _LOG_BYTES, 0))
            return file.read().decode(errors="backslashreplace")
    except OSError:
        return None


def _keep_logs(path: Path, folder: Path) -> None:
    """Copy the logs to the folder of the job, where its logs are looked for, if that is on this host."""
    for name in ("stdout", "stderr"):
        with suppress(OSError):  # the outcome has their ends
            if folder.is_dir():
                shutil.copyfile(path / name, folder / name)


def _parts(work: Mapping[str, Any]) -> dict[str, Any]:
    return {name: work.get(name) or None for name in _PARTS}


def _carry_module(name: str, target: Path) -> None:
    """Copy a module to below a folder: the Python files of the package that it is in, and all of its own."""
    module = importlib.import_module(name)
    source = Path(module.__file__ or "")
    if source.suffix != ".py" or not source.is_file():
        raise JobModuleError(
            f"The files of {name!r} cannot be carried: it was not imported from a file `.py`, but from "
            f"{module.__file__ or 'elsewhere'}."
        )
    top = name.partition(".")[0]
    places = getattr(sys.modules[top], "__path__", None)
    if places is None:
        _copy(source, target / f"{top}.py")
        return
    own = source.parent if hasattr(module, "__path__") else None
    for place in map(Path, places):
        for file in place.rglob("*"):
            is_wanted = file.suffix == ".py" or (own is not None and file.is_relative_to(own))
            if is_wanted and file.is_file() and "__pycache__" not in file.parts:
                _copy(file, target / top / file.relative_to(place))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _empty(folder: Path) -> None:
    """Remove what is in a folder, as far as that can be done."""
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            with suppress(OSError):  # the next build finds it there, and says so
                child.unlink()


@contextmanager
def _step(path: Path) -> Iterator[None]:
    """Tell as a `WorkDirError` whatever a module raises; what it prints goes to stderr."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except JobModuleError as error:
        raise WorkDirError(str(error), path=str(path)) from error
    except (Exception, SystemExit) as error:
        raise WorkDirError(f"{type(error).__name__}: {error}", path=str(path)) from error
