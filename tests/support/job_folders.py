"""Job folders for tests, and the script run in them as a process."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mc.flows.jobs.job import Job, Outcome
from mc.jobs.folder import JobFolder
from mc.jobs.script import run_job

__all__ = [
    "OLDEST_PYTHON",
    "SCRIPT",
    "await_that",
    "make_folder",
    "make_job",
    "run",
    "run_shell",
    "start",
    "write_module",
]

SCRIPT = Path(run_job.__file__)
_OLDEST = [*Path.home().glob(".pyenv/versions/3.9.*/bin/python"), Path("/usr/bin/python3.9")]
# The oldest Python of the machine that the script must run on; this one where there is no other.
OLDEST_PYTHON = next((str(path) for path in _OLDEST if path.exists()), sys.executable)


def make_job(work: Mapping[str, Any], key: str = "f:t:1", **fields: Any) -> Job:
    """Return a job with that work."""
    return Job(key=key, flow_key="f", task_path="t", attempt=1, executor="local", work=work, **fields)


def make_folder(tmp_path: Path, work: Mapping[str, Any], **settings: Any) -> JobFolder:
    """Write a job; `timeout_seconds` and `key` are fields of it, all else are settings of its folder."""
    fields = {name: settings.pop(name) for name in ("timeout_seconds", "key") if name in settings}
    job = make_job(work, **fields)
    folder = JobFolder.of(tmp_path, job.key)
    folder.write_job(job, **{"grace_seconds": 0.2, "heartbeat_seconds": 0.2, **settings})
    return folder


def start(
    folder: JobFolder,
    *options: str,
    env: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable, "-E", "-s", "-S"),
    script: Path = SCRIPT,
) -> subprocess.Popen[str]:
    """Start the script in a folder, as an executor does, but as a child of the test."""
    return subprocess.Popen(
        [*python, str(script), *options, str(folder.path)],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: JobFolder, *options: str, **settings: Any) -> tuple[int, str]:
    """Run the script in a folder; return its exit code and what it wrote to stderr."""
    with start(folder, *options, **settings) as process:
        _, said = process.communicate()
    return process.returncode, said


def run_shell(tmp_path: Path, command: str, **settings: Any) -> Outcome:
    """Run a command as a job, and return how it ended."""
    work = {"type": "shell", "command": command, **settings.pop("work", {})}
    folder = make_folder(tmp_path, work, **settings)
    _, said = run(folder)
    outcome = folder.read_outcome()
    assert outcome is not None, said
    assert said == ""
    return outcome


def await_that(condition: Callable[[], Any], what: str = "it") -> Any:
    """Return what a condition says as soon as it is true; for other processes, which have no other clock."""
    for _ in range(3_000):
        if value := condition():
            return value
        select.select((), (), (), 0.01)
    raise AssertionError(f"{what} did not come about")


def write_module(tmp_path: Path, text: str, name: str = "work_of_test") -> dict[str, Any]:
    """Write a module, and return the work that calls its function `work`."""
    (tmp_path / f"{name}.py").write_text(text)
    return {"type": "function", "function": f"{name}:work", "sys_path": [str(tmp_path)]}
