"""The executor `celery`, on real brokers and with real workers."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mc import Houston
from mc.errors import ExecutorError
from mc.flows.jobs.executor import FolderJob
from mc.jobs.executors.celery import CeleryExecutor
from mc.jobs.find_executor import make_executor
from mc.jobs.script.job_files import read_start
from mc.store.job_record import JobRecord
from tests.support.brokers import broker_url, fresh_queues
from tests.support.databases import fresh_url
from tests.support.job_folders import await_that

NOBODY = "amqp://ann:geheim@127.0.0.1:1//"  # a port at which nobody listens


@dataclass(frozen=True, kw_only=True)
class Site:
    """A folder with a settings file, where a worker runs."""

    folder: Path
    broker: str
    queue: str

    def open(self, **options: Any) -> Houston:
        return Houston.from_settings(self.folder / "mc.toml", **options)

    def executor(self) -> CeleryExecutor:
        return CeleryExecutor(broker=self.broker, queue=self.queue)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another process in the folder."""
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)


@contextmanager
def make_site(folder: Path, broker: str, db: str) -> Iterator[Site]:
    """Let a worker take the jobs of one of two queues."""
    with fresh_queues(broker, 2) as (queue, unattended):
        tables = [
            f'[executors.{name}]\nkind = "celery"\nbroker = "{broker}"\nqueue = "{own}"\n'
            for name, own in (("celery", queue), ("unattended", unattended))
        ]
        (folder / "mc.toml").write_text(f'db = "{db}"\nallow = ["shell"]\n\n' + "\n".join(tables))
        worker = ["-m", "celery", "-A", "mc.celery_app", "worker", "-c", "2", "-Q", queue, "-n", queue]
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
                yield Site(folder=folder, broker=broker, queue=queue)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site(tmp_path_factory.mktemp("redis"), broker_url("redis"), "sqlite:///mc.sqlite3") as site:
        yield site


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        db = stack.enter_context(fresh_url("postgres"))
        folder = tmp_path_factory.mktemp("rabbitmq")
        yield stack.enter_context(make_site(folder, broker_url("rabbitmq"), db))


@pytest.fixture(params=["redis", "rabbitmq"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def submit(houston: Houston, command: str, executor: str = "celery", **task: Any) -> str:
    """Store a flow of one job, and begin it; return its key."""
    params = {"command": command, "executor": executor}
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


class TestWork:
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
                assert site.executor().start([job]) == {job.job.key: job.job.key}
            assert await_end(houston, flow_key) == "COMPLETED"
            assert await_end(houston, submit(houston, "true")) == "COMPLETED"
        assert (site.folder / "runs").read_text() == "once\n"
        (site.folder / "runs").unlink()

    def test_a_long_key_is_sent_by_a_shorter_id(self, site: Site) -> None:
        with site.open() as houston:
            task = {"key": "ü" * 200, "precursors": []}
            flow_key = submit(houston, "true", **task)
            assert await_end(houston, flow_key) == "COMPLETED"


class TestStops:
    def test_a_flow_that_is_cancelled_ends_its_job(self, redis: Site) -> None:
        with redis.open() as houston:
            flow_key = submit(houston, f"sleep 1000 & echo $! > {redis.folder}/child; wait")
            child = pid_in(redis.folder / "child")
            houston.cancel(flow_key, by="ann", reason="too dear")
            await_status(houston, f"{flow_key}/a/1", "CANCELLED")
        assert not is_alive(child)
        assert "SIGKILL" not in (redis.folder / "worker.log").read_text()

    def test_one_that_was_not_begun_is_not_run_when_its_message_comes(self, redis: Site) -> None:
        with redis.open() as houston:
            flow_key = submit(houston, f"touch {redis.folder}/run", "unattended")
            assert houston.jobs.get(f"{flow_key}/a/1").status == "SUBMITTED"
            houston.cancel(flow_key, by="ann", reason="too dear")
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "CANCELLED"
        late = redis.python("-c", f"from mc.sent_jobs import run_sent_job; run_sent_job('{flow_key}/a/1')")
        assert late.stderr == ""
        assert not (redis.folder / "run").exists()


class TestKills:
    def test_the_job_of_a_killed_process_of_the_pool_is_tried_again(self, redis: Site) -> None:
        with redis.open() as houston:
            flow_key = submit(houston, f"echo $$ > {redis.folder}/pid; [ $MC_ATTEMPT = 2 ] || sleep 1000")
            pid = pid_in(redis.folder / "pid")
            owner = str(await_status(houston, f"{flow_key}/a/1", "RUNNING").owner)
            os.kill(int(owner.split(":")[1]), signal.SIGKILL)
            await_that(lambda: not is_alive(pid))
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "RUNNING"  # its lease is not over
        with closing(sqlite3.connect(redis.folder / "mc.sqlite3")) as connection, connection:
            connection.execute("UPDATE mc_job SET lease_expires_at = '2000-01-01T00:00:00.000000Z'")
        with redis.open() as houston:
            houston.tick()
            assert houston.jobs.get(f"{flow_key}/a/1").status == "LOST"
            assert await_end(houston, flow_key) == "COMPLETED"


class TestTrouble:
    @pytest.mark.parametrize("broker", [NOBODY, "redis://:geheim@127.0.0.1:1/0"])
    def test_a_broker_that_is_down_is_told_and_the_flow_goes_on_later(
        self, redis: Site, broker: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            redis.open(executors={"celery": {"broker": broker}}) as houston,
            caplog.at_level(logging.WARNING),
        ):
            flow_key = submit(houston, "true")
            record = houston.jobs.get(f"{flow_key}/a/1")
        assert record.status == "PENDING"
        assert "***@127.0.0.1:1" in str(record.reason)
        assert "cannot be reached" in caplog.text
        assert "geheim" not in caplog.text + str(record.reason)
        with redis.open() as houston:
            assert await_end(houston, flow_key) == "COMPLETED"

    def test_a_worker_with_another_database_says_so(self, redis: Site) -> None:
        said = redis.python("-c", "from mc.sent_jobs import run_sent_job; run_sent_job('f/a/1')").stderr
        assert "No job 'f/a/1' is in the database sqlite:///" in said
        assert "Traceback" not in said


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, "no `broker`"),
            ({"broker": "foo://127.0.0.1"}, "of 'foo' that Celery does not know"),
            ({"broker": "redis://127.0.0.1", "queue": ""}, "`queue` .* is empty"),
            ({"broker": "redis://127.0.0.1", "max_workers": 0}, "`max_workers` .* is 0"),
            ({"broker": "redis://127.0.0.1", "brokr": 1}, "brokr"),
        ],
    )
    def test_what_is_wrong_is_told(self, settings: dict[str, Any], expected: str) -> None:
        with pytest.raises(ExecutorError, match=expected):
            make_executor("celery", {"celery": settings})

    def test_the_environment_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere/1")
        assert CeleryExecutor(broker="redis://127.0.0.1").broker == "redis://elsewhere/1"

    def test_without_celery_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "celery", None)
        monkeypatch.delitem(sys.modules, "mc.jobs.executors.celery")
        with pytest.raises(ExecutorError, match=r"pip install 'mission-control\[celery\]'"):
            make_executor("big", {"big": {"kind": "celery"}})

    def test_a_worker_for_several_brokers_is_refused(self, tmp_path: Path) -> None:
        tables = [
            f'[executors.{name}]\nkind = "celery"\nbroker = "redis://{name}"\n' for name in ("one", "two")
        ]
        (tmp_path / "mc.toml").write_text("".join(tables))
        command = [sys.executable, "-c", "import mc.celery_app"]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr
        assert "The executors one, two have different brokers; set the environment variable" in said
