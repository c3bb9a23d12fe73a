"""A job in a pool: its function is called where this code runs, anything else by the script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

from mc.jobs.executors.captured_output import CapturedOutput
from mc.jobs.folder import replace_json
from mc.jobs.script.call_function import FunctionCall
from mc.jobs.script.job_files import claim_folder, format_timestamp, make_claim, note_trouble, write_json
from mc.jobs.script.job_outcome import describe_error, make_outcome
from mc.jobs.script.job_output import SecretMask
from mc.jobs.script.job_work import JobFileError, SecretError, SecretReader, read_job

__all__ = ["PoolJob", "leave_outcome"]

_SCRIPT: Final = Path(__file__).parents[1] / "script" / "run_job.py"
_PROGRESS_SECONDS: Final = 0.5  # between two writes of `progress.json`
_OUTCOME_SECONDS: Final = 60.0  # for how long writing the outcome is tried
_KEPT_THERE: Final = 65_536  # bytes of an outcome whose result may be kept nowhere else
_JOB_MODULES: Final = "mc.jobs.script.job_module:"  # they change the working folder of their process


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolJob:
    """What a pool is handed of a job.

    Attributes:
        folder: of the job.
        timeout_seconds: of its requests, besides its own; None: no limit.
        memory_bytes: of address space for each of its processes; None: no limit.
        owns_process: whether the process calls nothing else meanwhile, so that its output, environment and
            working folder are the job's.
    """

    folder: Path
    timeout_seconds: float | None
    memory_bytes: int | None
    owns_process: bool

    def carry_out(self) -> bool:
        """Run the job; return whether it has an outcome then, or is another process's.

        Raises:
            OSError: its folder cannot be claimed.
        """
        try:
            job = read_job(str(self.folder))
        except JobFileError as error:
            job, end = {}, describe_error(str(error), "JobError", "McError")
        else:
            if self._needs_script(job["work"]):
                return self._run_script(job)
            end = {}
        claim = make_claim()
        if not _claim(self.folder, claim):
            return True
        began = time.time()
        if (self.folder / "stop").exists():
            end = {"status": "CANCELLED"}
        return leave_outcome(self.folder, job, began, end or self._call(job, claim))

    def _needs_script(self, work: Mapping[str, Any]) -> bool:
        """Tell whether this process cannot give the work what it asks for."""
        function = work.get("function")
        if work.get("type") != "function" or not isinstance(function, str):
            return True
        if function.startswith(_JOB_MODULES) or work.get("env") or work.get("cwd"):
            return True
        here = {each or str(Path.cwd()) for each in sys.path}
        missing = [each for each in work.get("sys_path") or () if each not in here]
        if self.owns_process:  # which began before its parent looked there
            sys.path += missing
        return self.memory_bytes is not None or bool(missing and not self.owns_process)

    def _run_script(self, job: dict[str, Any]) -> bool:
        """Run the job by the script, with all its supervision, and wait for it."""
        options = []
        if self.timeout_seconds is not None:
            options += ["--timeout-seconds", str(self.timeout_seconds)]
        if self.memory_bytes is not None:
            options += ["--memory-bytes", str(self.memory_bytes)]
        command = [sys.executable, "-E", "-s", "-S", str(_SCRIPT), *options, str(self.folder)]
        log = self.folder / "script.log"
        began = time.time()
        try:
            with open(log, "ab", opener=_open_privately) as file:
                # In a session of its own, so that Ctrl-C at the terminal of the pool does not end it.
                subprocess.run(  # noqa: S603 - this interpreter, and a script of this package
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                    check=False,
                )
            said = log.read_bytes()[-1_000:].decode("utf-8", "backslashreplace").strip()
        except OSError as error:
            said = f"{error}"
        if (self.folder / "outcome.json").exists():
            return True
        if not _claim(self.folder, make_claim()):
            return True  # its claim tells what became of it
        message = f"The script of the job could not run in its folder {self.folder}: {said}"
        return leave_outcome(self.folder, job, began, describe_error(message, "JobError", "McError"))

    def _call(self, job: dict[str, Any], claim: Mapping[str, Any]) -> dict[str, Any]:
        """Call the function; return what the outcome says of it."""
        work = job["work"]
        secrets = SecretReader(os.environ, job.get("secrets_folder"))
        call = {name: work.get(name) for name in ("function", "args", "kwargs", "task_ctx")}
        try:
            if work.get("fills_headers"):
                kwargs = dict(work.get("kwargs") or {})
                call["kwargs"] = {**kwargs, "headers": secrets.fill_in(kwargs.get("headers"))}
        except SecretError as error:
            return describe_error(str(error), "SecretError")
        mask = SecretMask(secrets.values.values())
        progress = _ProgressFile(self.folder, mask)
        output = CapturedOutput(self.folder, job, mask, progress.tell) if self.owns_process else None
        pooled = _PooledCall(call, progress)
        mark = f"{claim['pid']}:{claim['started']}"
        began, cpu = time.monotonic(), time.thread_time()
        surroundings = _own_surroundings(self.folder, job, mark) if self.owns_process else nullcontext()
        with surroundings, output or nullcontext():
            pooled.carry_out()
            if os.getpid() != claim["pid"]:  # a child that the function forked came here too
                os._exit(0)
        seconds, cpu_seconds = time.monotonic() - began, time.thread_time() - cpu
        progress.write()
        end = self._judge(job, mask.mask_json(pooled.reply), seconds)
        if output is not None:
            end |= output.describe()
        return {**end, "usage": {"cpu_seconds": round(cpu_seconds, 6), **end.get("usage", {})}}

    def _judge(self, job: Mapping[str, Any], reply: Any, seconds: float) -> dict[str, Any]:
        both = (job.get("timeout_seconds"), self.timeout_seconds)
        timeout = min((float(each) for each in both if each is not None), default=None)
        if (self.folder / "stop").exists():
            return {"status": "CANCELLED", **reply}
        if timeout is not None and seconds > timeout:
            message = (
                f"It took {seconds:.3g} seconds, longer than its timeout of {timeout:g}; a call in a pool is "
                f"not interrupted by it. Give it more time, or an executor that ends it, such as 'local'."
            )
            return {"result": reply.get("result"), **describe_error(message, "TimeoutError")}
        return {"status": "FAILED" if "error" in reply else "COMPLETED", **reply}


class _PooledCall(FunctionCall):
    """A call whose replies stay in the process."""

    def __init__(self, call: dict[str, Any], progress: _ProgressFile) -> None:
        super().__init__(call, -1)
        self.reply: dict[str, Any] = {}
        self._progress = progress

    def _reply(self, reply: dict[str, Any]) -> None:
        if "progress" in reply:
            self._progress.tell(*reply["progress"])
        else:
            self.reply = reply


class _ProgressFile:
    """The file `progress.json` of a job, written at most twice a second, and at the end."""

    def __init__(self, folder: Path, mask: SecretMask) -> None:
        self._path = folder / "progress.json"
        self._mask = mask
        self._lock = Lock()
        self._told: dict[str, Any] | None = None
        self._next_at = 0.0

    def tell(self, fraction: float | None, text: str) -> None:
        at = format_timestamp(time.time())
        self._told = {"fraction": fraction, "text": self._mask.mask_text(text), "at": at}
        if time.monotonic() >= self._next_at:
            self.write()

    def write(self) -> None:
        with self._lock:
            told, self._told = self._told, None
            if told is not None:
                self._next_at = time.monotonic() + _PROGRESS_SECONDS
                try:
                    replace_json(self._path, told)
                except OSError as error:
                    note_trouble(f"progress.json could not be written: {error.strerror}")


def leave_outcome(
    folder: Path, job: Mapping[str, Any], began: float, end: dict[str, Any], seconds: float = _OUTCOME_SECONDS
) -> bool:
    """Write how a job of a pool ended, trying again for some seconds; return whether it could be written."""
    outcome = make_outcome(dict(job), began, end)
    outcome["usage"].pop("max_rss_bytes", None)  # it shares its process with others
    path, pause = folder / "outcome.json", 0.05
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            if len(json.dumps(outcome)) > _KEPT_THERE:
                write_json(str(path), outcome)
            else:
                replace_json(path, outcome)
        except OSError as error:
            if time.monotonic() > give_up_at:
                note_trouble(f"{path} could not be written: {error.strerror}; status {outcome['status']}")
                return False
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            return True


def _claim(folder: Path, claim: Mapping[str, Any]) -> bool:
    """Write `claim.json`; False if one is there already, and the job is another process's."""
    try:
        replace_json(folder / "claim.json", claim, put=os.link)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        return claim_folder(str(folder), dict(claim))
    return True


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _own_surroundings(folder: Path, job: Mapping[str, Any], mark: str) -> Iterator[None]:
    """Give a block the environment of a job, and set back what its function changed of that."""
    before, cwd = dict(os.environ), Path.cwd()
    os.environ.update(
        {
            "MC_JOB_KEY": str(job.get("key", "")),
            "MC_FLOW_KEY": str(job.get("flow_key", "")),
            "MC_TASK": str(job.get("task", "")),
            "MC_ATTEMPT": str(job.get("attempt", "")),
            "MC_JOB_FOLDER": str(folder),
            "MC_JOB_PROCESS": mark,
        }
    )
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})
        os.chdir(cwd)
