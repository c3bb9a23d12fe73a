"""Work of a job module in its work directory: built, run and parsed.

A copy of this file, as `run.py` in a work directory, runs what was built there. It needs Python 3.9 or later
and nothing else, so that the directory can be carried to where this package is not.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = ["OWN_NAMES", "JobModuleError", "WorkDir", "carry_out", "describe_failure"]

VERSION = 1  # of the format of work directories
OWN_NAMES = ("work.json", "run.py", "modules", "stdout", "stderr", "COMPLETED", "FAILED")
_SCRIPT = "run.sh"  # that `build` writes where the module has no `run`
_SHAPE = "A job module has build(params, config, work_dir), run(work_dir) and parse(work_dir)"
_MAX_MESSAGE = 4_000  # characters
_MAX_TRACEBACK = 8_000  # characters; the end is kept, where the error is


class JobModuleError(Exception):
    """A job module, or a work directory, is not what was expected."""


class ExitCodeError(Exception):
    """The run of a job module ended with another exit code than 0."""


class WorkDir:
    """A directory in which a job module works.

    Args:
        path: of the directory.
        work: `job_type`, the module's name; `params` and `config`, which `build` is given; `fake`, whether
            the module's scripted output takes the place of its run.
    """

    def __init__(self, path: str | os.PathLike[str], work: dict[str, Any]) -> None:
        self.path = Path(os.path.abspath(path))
        self.work = work
        self._job_type = str(work["job_type"])

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> WorkDir:
        """Return the work directory that was built there.

        Raises:
            JobModuleError: it is none.
        """
        file = Path(path) / "work.json"
        try:
            work = json.loads(file.read_bytes())
        except OSError as error:
            raise JobModuleError(
                f"{path} is no work directory: {file} cannot be read: {error.strerror}."
            ) from error
        except ValueError as error:
            raise JobModuleError(f"{file} is damaged: it is not JSON ({error}). Build it again.") from error
        if not isinstance(work, dict) or not isinstance(work.get("job_type"), str):
            raise JobModuleError(f"{file} is damaged: it names no `job_type`. Build it again.")
        if work.get("version") != VERSION:
            raise JobModuleError(
                f"{file} is of version {work.get('version')!r}, and {VERSION} is known here; let the same "
                f"version build it and take it in."
            )
        return cls(path, work)

    def build(self) -> None:
        """Have the module write what its run needs.

        Raises:
            BaseException: what `build` raises; its message names the step and the directory.
            JobModuleError: the module is not what was expected.
        """
        os.makedirs(self.path, exist_ok=True)
        module = self._import()
        build = self._find(module, "build")
        self._call("build", build, self.work.get("params") or {}, self.work.get("config") or {}, self.path)
        taken = [name for name in OWN_NAMES if os.path.lexists(self.path / name)]
        if taken:
            raise JobModuleError(
                f"build of {self._job_type!r} wrote {taken[0]!r} into {self.path}, a name that the work "
                f"directory has for itself, as {', '.join(OWN_NAMES)}. Choose another one."
            )
        if self.work.get("fake"):
            self._find(module, "fake", "; its scripted output is asked for by `fake` of the executor")
        elif not hasattr(module, "run") and not (self.path / _SCRIPT).is_file():
            raise JobModuleError(
                f"{self._job_type!r} has no run(work_dir), and its build wrote no {_SCRIPT} into "
                f"{self.path}. {_SHAPE}; in the place of run, build may write a {_SCRIPT}."
            )
        (self.path / "work.json").write_text(json.dumps({"version": VERSION, **self.work}, indent=2))

    def run(self) -> None:
        """Have the module run what it built, and leave the mark COMPLETED or FAILED.

        Raises:
            BaseException: what `run` raises; its message names the step and the directory.
            ExitCodeError: it ended with an exit code other than 0.
            JobModuleError: the module is not what was expected, or the directory was run already.
        """
        if self.is_completed:
            raise JobModuleError(f"{self.path} was run already; it is COMPLETED.")
        (self.path / "FAILED").unlink(missing_ok=True)
        begun = _now()
        try:
            self._run(self._import())
        except BaseException as error:
            self._mark("FAILED", begun, describe_failure(error))
            raise
        self._mark("COMPLETED", begun, None)

    def parse(self) -> Any:
        """Return what the module reads out of the directory.

        Raises:
            BaseException: what `parse` raises; its message names the step and the directory.
            JobModuleError: the module is not what was expected.
        """
        return self._call("parse", self._find(self._import(), "parse"), self.path)

    @property
    def is_completed(self) -> bool:
        """Whether it was run, to a good end."""
        return (self.path / "COMPLETED").exists()

    def read_mark(self) -> dict[str, Any] | None:
        """Return what the mark of its end says, with `status`; None where there is none.

        A mark that somebody made by hand may be empty.

        Raises:
            JobModuleError: it cannot be read.
        """
        for status in ("COMPLETED", "FAILED"):
            file = self.path / status
            if file.exists():
                try:
                    said = json.loads(file.read_bytes() or b"{}")
                except (OSError, ValueError) as error:
                    raise JobModuleError(f"{file} cannot be read: {error}") from error
                return {**(said if isinstance(said, dict) else {}), "status": status}
        return None

    def _run(self, module: ModuleType) -> None:
        if self.work.get("fake"):
            self._call("fake", _write_fake, self._find(module, "fake"), self.path)
            return
        if hasattr(module, "run"):
            code = self._call("run", self._find(module, "run"), self.path)
            what = f"run of {self._job_type!r}"
        else:
            code = subprocess.call(["sh", _SCRIPT], cwd=self.path)  # noqa: S603, S607 - as a person would
            what = f"{_SCRIPT} of {self._job_type!r}"
        if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
            raise JobModuleError(
                f"{what} returned a value of type {type(code).__name__}; expected nothing, or an exit code "
                f"such as `subprocess.run(...).returncode`."
            )
        if code:
            named = type(f"ExitCode{code}" if code > 0 else f"KilledBySignal{-code}", (ExitCodeError,), {})
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise named(f"{what} ended with {ended} in {self.path}.")

    def _import(self) -> ModuleType:
        name = self._job_type
        try:
            return importlib.import_module(name)
        except Exception as error:
            looked = ", ".join(part or "." for part in sys.path)
            raise JobModuleError(
                f"The job module {name!r} cannot be imported: {type(error).__name__}: {error}. It was looked "
                f"for in {looked}. What it needs must be installed where it runs, or its folder be named in "
                f"PYTHONPATH there."
            ) from error

    def _find(self, module: ModuleType, name: str, why: str = "") -> Any:
        try:
            return getattr(module, name)
        except AttributeError:
            raise JobModuleError(
                f"{self._job_type!r} has no `{name}`{why}. {_SHAPE}; is it another version of it here?"
            ) from None

    def _call(self, step: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the module with the directory as the current one."""
        before = os.getcwd()
        os.chdir(self.path)
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is told
            raise _told(error, f"{step} of {self._job_type!r} failed in {self.path}")  # noqa: B904 - its cause is kept
        finally:
            os.chdir(before)

    def _mark(self, status: str, begun: str, error: dict[str, Any] | None) -> None:
        said = {"started_at": begun, "finished_at": _now(), "host": socket.gethostname(), "pid": os.getpid()}
        beside = self.path / f"{status}.tmp"
        beside.write_text(json.dumps({**said, **({} if error is None else {"error": error})}))
        os.replace(beside, self.path / status)


def carry_out(job_type: str, params: dict[str, Any], config: dict[str, Any], fake: bool = False) -> Any:
    """Do all of the work of a job module in the folder of the job; return what `parse` read.

    Raises:
        BaseException: what the module raises.
        JobModuleError: the module is not what was expected.
    """
    work = {"job_type": job_type, "params": params, "config": config, "fake": fake}
    work_dir = WorkDir(os.path.join(os.environ["MC_JOB_FOLDER"], "work"), work)
    work_dir.build()
    work_dir.run()
    carry_out.result_of = f"{job_type}:parse"  # type: ignore[attr-defined] # read where it is no JSON
    return work_dir.parse()


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return type, message, traceback, and the names that `cfg.retry` may call an error by."""
    frames = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    bases = [cls.__name__ for cls in type(error).__mro__[:-1]]
    return {
        "type": bases[0],
        "message": _message_of(error)[:_MAX_MESSAGE],
        "types": list(dict.fromkeys(bases)),
        "traceback": frames[-_MAX_TRACEBACK:],
    }


def _told(error: BaseException, what: str) -> BaseException:
    """Return an error of the same class, which `cfg.retry` may name, that begins with what failed."""
    cls = type(error)
    text = f"{what}: {_message_of(error)}"
    its = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    try:
        named: Any = type(
            cls.__name__, (cls,), {**its, "__init__": lambda *_: None, "__str__": lambda _: text}
        )
        told: BaseException = named.__new__(named)
    except Exception:  # noqa: BLE001 - a class that refuses to be derived from
        told = JobModuleError(f"{what}: {cls.__name__}: {_message_of(error)}")
    told.__cause__, told.__suppress_context__ = error.__cause__, True
    return told.with_traceback(error.__traceback__)


def _message_of(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - it is the module's
        return type(error).__name__


def _write_fake(fake: Any, path: Path) -> None:
    """Write scripted outputs: texts by name of the file, or whatever a function does."""
    if callable(fake):
        fake(path)
        return
    if not isinstance(fake, dict) or not all(isinstance(text, str) for text in fake.values()):
        raise JobModuleError("`fake` is neither a function nor a dict of texts by name of the file.")
    for name, text in fake.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def main() -> int:
    """Run the work directory that this file lies in; return the exit code."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:1] = [os.path.join(here, "modules")]  # in the place of this folder
    said = os.dup(2)
    try:
        work_dir = WorkDir.read(here)
        if work_dir.is_completed:
            raise JobModuleError(f"{here} was run already; it is COMPLETED.")
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(os.path.join(here, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
            os.close(file)
        work_dir.run()
    except JobModuleError as error:
        os.write(said, f"{error}\n".encode())
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        traceback.print_exc()
        os.write(said, f"FAILED: {type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        return 1
    os.write(said, f"{here} is COMPLETED\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
