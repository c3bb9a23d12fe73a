"""Jobs that an engine brings to workers by their keys: what is true on each, tried with real ones."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc import Houston
from mc.flows.jobs.executor import Executor, FolderJob
from mc.jobs.script.job_files import read_start
from mc.store.job_record import JobRecord
from tests.support.job_folders import await_that

__all__ = ["SentJobs", "SentJobsInTrouble", "Site", "await_end", "submit"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """A folder with a settings file and workers of the executor `engine`; `unattended` has none."""

    folder: Path
    executor: Executor

    def open(self, **options: Any) -> Houston:
        return Houston.from_settings(self.folder / "mc.toml", **options)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another process in the folder."""
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)


def submit(houston: Houston, command: str, executor: str = "engine", **task: Any) -> str:
    """Store a flow of one job, and begin it; return its key."""
    params = {"command": command, "executor": executor, "requests": {"cpus": 1}}
    spec = {"tasks": [{"key": "a", "task_type": "shell", "task_params": params, **task}]}
    key = houston.submit(spec)
    houston.tick()
    return key


def await_end(houston: Houston, flow_key: str) -> str:
    def status() -> str | None:
        houston.tick()
        found = houston.load(flow_key).status
        return found if found in ("COMPLETED", "FAILED", "CANCELLED") else None

    return str(await_that(status))


def await_status(houston: Houston, key: str, status: str) -> JobRecord:
    await_that(lambda: houston.jobs.get(key).status == status, f"{status} of {key}")
    return houston.jobs.get(key)


def is_alive(pid: int) -> bool:
    return read_start(pid) is not None


def pid_in(path: Path) -> int:
    return int(await_that(lambda: path.exists() and path.read_text().strip()))


class SentJobs:
    """What is true of jobs on each engine that brings workers their keys; a subclass has a fixture `site`."""

    def test_a_result_comes_back_by_the_database(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, "echo $MC_TASK")
            assert await_end(houston, flow_key) == "COMPLETED"
            assert houston.load(flow_key).tasks["a"]["data"]["stdout"] == "a\n"
            assert houston.jobs.get(f"{flow_key}/a/1").native_id == f"{flow_key}/a/1"

    def test_a_failure_is_told_as_one_to_everybody(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, "echo oh >&2; exit 3")
            assert await_end(houston, flow_key) == "FAILED"
            assert houston.load(flow_key).tasks["a"]["error"]["type"] == "ExitCode3"
        seen = site.python("-m", "mc", "job", "show", f"{flow_key}/a/1", "--json").stdout
        assert json.loads(seen)["status"] == "FAILED"

    def test_what_is_sent_twice_is_run_once(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, f"echo once >> {site.folder}/runs; sleep 0.3")
            job = FolderJob(job=houston.jobs.get(f"{flow_key}/a/1").job, folder=site.folder)
            for _ in range(3):
                assert site.executor.start([job]) == {job.job.key: job.job.key}
            assert await_end(houston, flow_key) == "COMPLETED"
            assert await_end(houston, submit(houston, "true")) == "COMPLETED"
        assert (site.folder / "runs").read_text() == "once\n"
        (site.folder / "runs").unlink()

    def test_a_long_key_is_sent_by_a_shorter_id(self, site: Site) -> None:
        with site.open() as houston:
            task = {"key": "ü" * 200, "precursors": []}
            flow_key = submit(houston, "true", **task)
            assert await_end(houston, flow_key) == "COMPLETED"


class SentJobsInTrouble(SentJobs):
    """The same, and what is true where something happens to them; the database is SQLite."""

    def test_a_flow_that_is_cancelled_ends_its_job(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, f"sleep 1000 & echo $! > {site.folder}/child; wait")
            child = pid_in(site.folder / "child")
            houston.cancel(flow_key, by="ann", reason="too dear")
            await_status(houston, f"{flow_key}/a/1", "CANCELLED")
        assert not is_alive(child)

    def test_one_that_was_not_begun_is_not_run_when_its_message_comes(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, f"touch {site.folder}/run", "unattended")
            assert houston.jobs.get(f"{flow_key}/a/1").status == "SUBMITTED"
            houston.cancel(flow_key, by="ann", reason="too dear")
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "CANCELLED"
        late = site.python("-c", f"from mc.sent_jobs import run_sent_job; run_sent_job('{flow_key}/a/1')")
        assert late.stderr == ""
        assert not (site.folder / "run").exists()

    def test_the_job_of_a_killed_worker_is_tried_again(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, f"echo $$ > {site.folder}/pid; [ $MC_ATTEMPT = 2 ] || sleep 1000")
            pid = pid_in(site.folder / "pid")
            owner = str(await_status(houston, f"{flow_key}/a/1", "RUNNING").owner)
            os.kill(int(owner.split(":")[1]), signal.SIGKILL)
            await_that(lambda: not is_alive(pid))
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "RUNNING"  # its lease is not over
        with closing(sqlite3.connect(site.folder / "mc.sqlite3")) as connection, connection:
            connection.execute("UPDATE mc_job SET lease_expires_at = '2000-01-01T00:00:00.000000Z'")
        with site.open() as houston:
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "LOST"
            assert await_end(houston, flow_key) == "COMPLETED"
