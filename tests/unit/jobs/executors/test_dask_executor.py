"""The executor `dask`, on a real cluster in a process of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mc.errors import ExecutorError
from mc.flows.jobs.executor import FolderJob
from mc.jobs.find_executor import make_executor
from tests.support.job_folders import await_that, make_job
from tests.support.sent_jobs import SentJobsInTrouble, Site, await_end, dask_site, job, submit

WORKERS = 2  # of one thread, in the cluster
NOBODY = "tcp://127.0.0.1:1"  # a port at which nobody listens


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with dask_site(tmp_path_factory.mktemp("dask"), WORKERS) as site:
        yield site


class TestCluster(SentJobsInTrouble):
    @pytest.fixture
    def site(self, cluster: Site) -> Site:
        return cluster


def test_a_job_that_waits_at_the_scheduler_outlives_the_connection_that_submitted_it(cluster: Site) -> None:
    go = cluster.folder / "go"
    with cluster.open() as houston:
        busy = [submit(houston, job("a", f"until [ -e {go} ]; do sleep 0.05; done")) for _ in range(WORKERS)]
        await_that(lambda: all(houston.jobs.get(f"{each}/a/1").status == "RUNNING" for each in busy))
        waiting = submit(houston, job("a", "true"))
        go.touch()
        assert [await_end(houston, each) for each in (*busy, waiting)] == ["COMPLETED"] * (WORKERS + 1)


def test_a_key_is_free_again_when_its_task_has_ended(cluster: Site) -> None:
    sent = FolderJob(job=make_job({}, key="no/such/1"), folder=cluster.folder)
    log = cluster.folder / "cluster.log"

    def is_run(times: int) -> bool:
        return log.read_text().count("No job 'no/such/1' is in the database") == times

    for times in (1, 2, 3):
        assert cluster.executor.start([sent]) == {"no/such/1": "no/such/1"}
        await_that(partial(is_run, times))


class TestTrouble:
    def test_a_scheduler_that_is_down_is_told_and_the_flow_goes_on_later(
        self, cluster: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        down = {"engine": {"kind": "dask", "address": NOBODY}}
        with cluster.open(executors=down) as houston, caplog.at_level(logging.WARNING):
            flow_key = submit(houston, job("a", "true"))
            record = houston.jobs.get(f"{flow_key}/a/1")
        assert record.status == "PENDING"
        assert f"The scheduler {NOBODY} cannot be reached" in str(record.reason)
        assert "cannot be reached" in caplog.text
        cluster.end_leases()  # nobody tries it again for a while
        with cluster.open() as houston:
            assert await_end(houston, flow_key) == "COMPLETED"


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, "`address` is ''"),
            ({"address": "127.0.0.1"}, "`address` is '127.0.0.1'"),
            ({"address": NOBODY, "max_workers": 0}, "`max_workers` is 0"),
            ({"address": NOBODY, "resources": {"disk": "D"}}, "cpus, memory, gpus to names"),
        ],
    )
    def test_what_is_wrong_is_told(self, settings: dict[str, Any], expected: str) -> None:
        with pytest.raises(ExecutorError, match=expected):
            make_executor("dask", {"dask": settings})

    def test_without_dask_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "distributed", None)
        monkeypatch.delitem(sys.modules, "mc.jobs.executors.dask", raising=False)
        with pytest.raises(ExecutorError, match=r"pip install 'mission-control\[dask\]'"):
            make_executor("big", {"big": {"kind": "dask"}})
