"""Jobs that an engine brings to workers by their keys: what is true on each, tried with real ones."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mc import Houston
from mc.flows.jobs.executor import Executor, FolderJob
from mc.jobs.script.job_files import read_start
from mc.store.job_record import JobRecord
from tests.support.brokers import fresh_queues
from tests.support.job_folders import await_that

__all__ = ["SentJobs", "SentJobsInTrouble", "Site", "await_end", "celery_site", "dask_site", "job", "submit"]

_CLUSTER = Path(__file__).with_name("dask_cluster.py")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A folder with a settings file and workers of the executor `engine`; `unattended` has none."""

    folder: Path
    executor: Executor
    address: str  # of the broker or scheduler

    def open(self, **options: Any) -> Houston:
        return Houston.from_settings(self.folder / "mc.toml", **options)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another process in the folder."""
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)

    def end_leases(self) -> None:
        """Let the leases of all jobs be over, where the database is SQLite."""
        with closing(sqlite3.connect(self.folder / "mc.sqlite3")) as connection, connection:
            connection.execute("UPDATE mc_job SET lease_expires_at = '2000-01-01T00:00:00.000000Z'")


@contextmanager
def celery_site(folder: Path, broker: str, db: str, settings: str = "", slots: int = 2) -> Iterator[Site]:
    """Let a worker of Celery take the jobs of one of two queues.

    Args:
        folder: where it works.
        broker: its URL.
        db: URL of the database.
        settings: more lines of the settings file.
        slots: how many jobs the worker runs at a time.
    """
    from mc.jobs.executors.celery import CeleryExecutor

    with fresh_queues(broker, 2) as (queue, unattended):
        tables = [
            f'[executors.{name}]\nkind = "celery"\nbroker = "{broker}"\nqueue = "{own}"\n'
            for name, own in (("engine", queue), ("unattended", unattended))
        ]
        (folder / "mc.toml").write_text(f'db = "{db}"\nallow = ["shell"]\n{settings}\n' + "\n".join(tables))
        worker = ["-m", "celery", "-A", "mc.celery_app", "worker", "-c", str(slots), "-Q", queue, "-n", queue]
        quick = ["--without-gossip", "--without-mingle", "-l", "info"]
        with (
            (folder / "worker.log").open("wb") as log,
            subprocess.Popen(
                [sys.executable, *worker, *quick],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield Site(folder=folder, executor=CeleryExecutor(broker=broker, queue=queue), address=broker)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def dask_site(folder: Path, workers: int, settings: str = "") -> Iterator[Site]:
    """Start a cluster of Dask, whose workers have one thread each.

    Args:
        folder: where it works.
        workers: how many.
        settings: more lines of the settings file.
    """
    from mc.jobs.executors.dask import DaskExecutor

    with (
        (folder / "cluster.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, str(_CLUSTER), str(workers)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        table = f'kind = "dask"\naddress = "{address}"\n'
        (folder / "mc.toml").write_text(
            f'db = "sqlite:///mc.sqlite3"\nallow = ["shell"]\n{settings}\n'
            f'[executors.engine]\n{table}\n[executors.unattended]\n{table}resources = {{cpus = "NOWHERE"}}\n'
        )
        try:
            yield Site(folder=folder, executor=DaskExecutor(address=address), address=address)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def job(key: str, command: str, executor: str = "engine") -> dict[str, Any]:
    params = {"command": command, "executor": executor, "requests": {"cpus": 1}}
    return {"key": key, "task_type": "shell", "task_params": params, "precursors": []}


def submit(houston: Houston, *tasks: dict[str, Any], **spec: Any) -> str:
    """Store a flow, and begin it; return its key."""
    key = houston.submit({"tasks": [*tasks], **spec})
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


START_AND_DIE = """
import json, os, signal, sys
from mc import Houston
from mc.jobs.find_executor import make_executor
from mc.settings.values import SettingValues

kind = type(make_executor("engine", SettingValues.find().get("executors").value))
start = kind.start
def start_and_die(self, jobs):
    assert start(self, jobs)
    os.kill(os.getpid(), signal.SIGKILL)
kind.start = start_and_die
houston = Houston.from_settings()
houston.submit(json.loads(sys.argv[1]))  # by this process, lest a tick that a job began is faster
houston.tick()
"""


class SentJobs:
    """What is true of jobs on each engine that brings workers their keys; a subclass has a fixture `site`."""

    def test_each_end_is_told_as_it_was_to_everybody(self, site: Site) -> None:
        ends = {
            "good": "echo '{\"rows\": 7}'",
            "big": "head -c 5000000 /dev/zero | tr '\\0' x",
            "bad": "echo no >&2; exit 3",
            "killed": "exit 137",
            "shot": "kill -SEGV $$",
        }
        tasks = [job(key, command) for key, command in ends.items()]
        tasks[0]["task_params"]["parse"] = "json"
        with site.open() as houston:
            flow_key = submit(houston, *tasks, cfg={"fail_fast": False})
            assert await_end(houston, flow_key) == "FAILED"
            flow = houston.load(flow_key)
            errors = {key: (task.get("error") or {}).get("type") for key, task in flow.tasks.items()}
            assert houston.jobs.get(f"{flow_key}/good/1").native_id == f"{flow_key}/good/1"
        assert flow.tasks["good"]["data"]["result"] == {"rows": 7}
        assert errors == {
            "good": None,
            "big": None,
            "bad": "ExitCode3",
            "killed": "ExitCode137",
            "shot": "KilledBySignal11",
        }
        seen = json.loads(site.python("-m", "mc", "job", "list", "--flow", flow_key, "--json").stdout)
        statuses = {record["task"]: record["status"] for record in seen}
        assert statuses == {**dict.fromkeys(ends, "FAILED"), "good": "COMPLETED", "big": "COMPLETED"}

    def test_a_starter_that_is_killed_leaves_no_job_behind(self, site: Site) -> None:
        spec = {"key": "started", "tasks": [job("a", f"echo run >> {site.folder}/started")]}
        with pytest.raises(subprocess.CalledProcessError, match="SIGKILL"):
            site.python("-c", START_AND_DIE, json.dumps(spec))
        with site.open() as houston:
            assert await_end(houston, "started") == "COMPLETED"
            houston.delete("started")
        assert (site.folder / "started").read_text() == "run\n"
        (site.folder / "started").unlink()

    def test_what_is_sent_twice_is_run_once(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, job("a", f"echo once >> {site.folder}/runs; sleep 0.3"))
            sent = FolderJob(job=houston.jobs.get(f"{flow_key}/a/1").job, folder=site.folder)
            for _ in range(3):
                assert site.executor.start([sent]) == {sent.job.key: sent.job.key}
            assert await_end(houston, flow_key) == "COMPLETED"
            assert await_end(houston, submit(houston, job("a", "true"))) == "COMPLETED"
        assert (site.folder / "runs").read_text() == "once\n"
        (site.folder / "runs").unlink()

    def test_a_long_key_is_sent_by_a_shorter_id(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, job("ü" * 200, "true"))
            assert await_end(houston, flow_key) == "COMPLETED"


class SentJobsInTrouble(SentJobs):
    """The same, and what is true where something happens to them; the database is SQLite."""

    def test_a_flow_that_is_cancelled_ends_its_job(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, job("a", f"sleep 1000 & echo $! > {site.folder}/child; wait"))
            child = pid_in(site.folder / "child")
            houston.cancel(flow_key, by="ann", reason="too dear")
            await_status(houston, f"{flow_key}/a/1", "CANCELLED")
        assert not is_alive(child)

    def test_one_that_was_not_begun_is_not_run_when_its_message_comes(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(houston, job("a", f"touch {site.folder}/run", "unattended"))
            assert houston.jobs.get(f"{flow_key}/a/1").status == "SUBMITTED"
            houston.cancel(flow_key, by="ann", reason="too dear")
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "CANCELLED"
        late = site.python("-c", f"from mc.sent_jobs import run_sent_job; run_sent_job('{flow_key}/a/1')")
        assert late.stderr == ""
        assert not (site.folder / "run").exists()

    def test_the_job_of_a_killed_worker_is_tried_again(self, site: Site) -> None:
        with site.open() as houston:
            flow_key = submit(
                houston, job("a", f"echo $$ > {site.folder}/pid; [ $MC_ATTEMPT = 2 ] || sleep 1000")
            )
            pid = pid_in(site.folder / "pid")
            owner = str(await_status(houston, f"{flow_key}/a/1", "RUNNING").owner)
            os.kill(int(owner.split(":")[1]), signal.SIGKILL)
            await_that(lambda: not is_alive(pid))
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "RUNNING"  # its lease is not over
        site.end_leases()
        with site.open() as houston:
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "LOST"
            assert await_end(houston, flow_key) == "COMPLETED"
