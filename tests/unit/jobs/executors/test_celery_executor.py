"""The executor `celery`, on real brokers and with real workers."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.jobs.executors.celery import CeleryExecutor
from mc.jobs.find_executor import make_executor
from tests.support.brokers import broker_url
from tests.support.databases import fresh_url
from tests.support.sent_jobs import SentJobs, SentJobsInTrouble, Site, await_end, celery_site, job, submit

NOBODY = "amqp://ann:geheim@127.0.0.1:1//"  # a port at which nobody listens


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with celery_site(tmp_path_factory.mktemp("redis"), broker_url("redis"), "sqlite:///mc.sqlite3") as site:
        yield site


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        db = stack.enter_context(fresh_url("postgres"))
        folder = tmp_path_factory.mktemp("rabbitmq")
        yield stack.enter_context(celery_site(folder, broker_url("rabbitmq"), db))


class TestRedis(SentJobsInTrouble):
    @pytest.fixture
    def site(self, redis: Site) -> Site:
        return redis


class TestRabbitMQ(SentJobs):
    @pytest.fixture
    def site(self, rabbitmq: Site) -> Site:
        return rabbitmq


class TestTrouble:
    @pytest.mark.parametrize("broker", [NOBODY, "redis://:geheim@127.0.0.1:1/0"])
    def test_a_broker_that_is_down_is_told_and_the_flow_goes_on_later(
        self, redis: Site, broker: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            redis.open(executors={"engine": {"kind": "celery", "broker": broker}}) as houston,
            caplog.at_level(logging.WARNING),
        ):
            flow_key = submit(houston, job("a", "true"))
            record = houston.jobs.get(f"{flow_key}/a/1")
        assert record.status == "PENDING"
        assert "***@127.0.0.1:1" in str(record.reason)
        assert "cannot be reached" in caplog.text
        assert "geheim" not in caplog.text + str(record.reason)
        redis.end_leases()  # nobody tries it again for a while
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
            ({}, "`broker` is not given"),
            ({"broker": "foo://127.0.0.1"}, "of 'foo' that Celery does not know"),
            ({"broker": "redis://127.0.0.1", "queue": ""}, "`queue` is empty"),
            ({"broker": "redis://127.0.0.1", "max_workers": 0}, "`max_workers` is 0"),
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
        monkeypatch.delitem(sys.modules, "mc.jobs.executors.celery", raising=False)
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
