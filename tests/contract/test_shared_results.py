"""Large results in a place that all hosts see, on each database: written by who ends a job, read by all."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mc.clock import ManualClock
from mc.flows.jobs.job import Outcome
from mc.jobs.job_watch import JobWatch
from mc.jobs.job_worker import JobWorker
from mc.jobs.jobs import Jobs
from mc.jobs.large_results import LargeResults, ResultUnreadableError
from mc.jobs.result_places import FolderPlace, ResultPlace, find_place
from mc.store.flow_store import FlowStore
from tests.contract import test_large_results
from tests.contract.test_large_results import LARGE, Site, after, job
from tests.support.hand_driven_executor import HandDrivenExecutor as Hand
from tests.support.invariants import Seen, check_store

TEXT = json.dumps(LARGE, ensure_ascii=False, separators=(",", ":")).encode()
DIGEST = sha256(TEXT).hexdigest()
PLACES = ["folder", "memory://results", "local"]


class SharedSite(Site):
    """A site whose large results go to a place that hosts share."""

    def __init__(self, store: FlowStore, clock: ManualClock, folder: Path, place: str) -> None:
        super().__init__(store, clock, folder / "here")
        self.shared = folder / "shared"
        self.place = {"folder": str(self.shared), "local": f"local://{self.shared}"}.get(place, place)
        executors = {**self.settings.executors, "queue": {"kind": "queue"}}
        self.settings = replace(
            self.settings, executors=executors, results_in_files=False, results_place=self.place
        )
        store.read_result = LargeResults(self.settings).read

    @property
    def results(self) -> ResultPlace:
        return find_place(self.place)

    def names(self) -> list[str]:
        return [*self.results.names()]

    def prune(self) -> int:
        """Remove what is left over, as `houston db prune` does."""
        return Jobs(self.store, self.settings).remove_unused_results()

    def grow_old(self, days: float = 2) -> None:
        """Let what was written be older."""
        then = self.clock.now() - timedelta(days=days)
        for path in self.shared.glob("*/*"):
            os.utime(path, (then.timestamp(), then.timestamp()))
        for file in fsspec.filesystem("memory").store.values():
            file.modified = then

    def delete(self, key: str) -> None:
        self.store.upkeep.delete(key)
        Jobs(self.store, self.settings).remove_left()


@pytest.fixture
def place() -> str:
    return "folder"


@pytest.fixture
def site(store: FlowStore, clock: ManualClock, tmp_path: Path, place: str) -> Iterator[SharedSite]:
    Hand.reset()
    fsspec.filesystem("memory").store.clear()
    yield SharedSite(store, clock, tmp_path, place)
    check_store(store, Seen(people_act=True))
    Hand.reset()


@pytest.mark.parametrize("place", PLACES)
class TestEachPlace:
    def test_a_result_is_a_file_that_is_named_after_it(self, site: SharedSite) -> None:
        site.begin(job(), after("b", "look"))
        Hand.finish("a", result=LARGE)
        site.tick()
        flow = site.tick()
        assert flow.tasks["b"]["data"] == {"count": 1000}
        assert site.stored() < 5_000
        assert site.names() == [DIGEST]
        assert site.results.read(DIGEST) == TEXT
        assert site.results.shown(DIGEST).endswith(f"/{DIGEST[:2]}/{DIGEST}")
        shutil.rmtree(site.folder / "jobs")
        assert site.store.load("f").tasks["a"]["data"] == {"job_key": "f/a/1", "result": LARGE}

    def test_it_goes_when_no_flow_refers_to_it_and_it_is_old(self, site: SharedSite) -> None:
        site.begin(job())
        Hand.finish("a", result=LARGE)
        site.tick()
        site.grow_old()
        assert site.prune() == 0
        site.delete("f")
        site.results.write(DIGEST, TEXT)  # again, by somebody whose row is not there yet
        site.grow_old(days=0.9)
        assert site.prune() == 0
        site.grow_old(days=1.1)
        assert (site.prune(), site.names()) == (1, [])

    def test_what_is_gone_or_changed_is_told(self, site: SharedSite) -> None:
        site.begin(job())
        Hand.finish("a", result=LARGE)
        site.tick()
        site.results.write(DIGEST, TEXT[:-1])
        with pytest.raises(ResultUnreadableError, match="is not what was written there"):
            site.store.load("f").to_flow_dict()
        site.grow_old()
        site.results.remove(DIGEST, site.clock.now())
        with pytest.raises(ResultUnreadableError, match=f"written to .*{DIGEST}, which is not there"):
            site.store.load("f").to_flow_dict()
        site.results.write(DIGEST, TEXT)
        assert site.store.load("f").tasks["a"]["data"]["result"] == LARGE


def test_a_worker_of_another_host_leaves_it_there(site: SharedSite, tmp_path: Path) -> None:
    made = {"function": f"{test_large_results.__name__}:make", "args": [100_000], "executor": "queue"}
    look = {"wirings": ["ctx.flow.tasks.a.data.result.size => ctx.flow.data.size"]}
    site.engine = site.new_engine()
    site.begin({"key": "a", "task_type": "call", "task_params": made}, after("b", "wire", task_params=look))
    there = replace(site.settings, data_folder=tmp_path / "there")
    with closing(JobWorker(site.store, there)) as worker:
        assert worker.run_job("f/a/1") == "COMPLETED"
    shutil.rmtree(tmp_path / "there")
    site.tick()
    flow = site.tick()
    assert flow.data == {"size": 100_000}
    assert len(flow.tasks["a"]["data"]["result"]["text"]) == 100_000
    assert len(site.names()) == 1
    assert site.stored() < 5_000


def test_what_another_flow_takes_outlives_the_first(site: SharedSite) -> None:
    site.begin(job(params={"dedupe": True}))
    Hand.finish("a", result=LARGE)
    site.tick()
    second = {"key": "g", "tasks": [job("b", params={"dedupe": True})]}
    site.store.create(site.engine.flow_spec_to_flow(second))
    site.tick()
    assert site.store.load("g").status == "COMPLETED"
    assert site.stored() < 5_000
    site.delete("f")
    site.grow_old()
    assert site.prune() == 0
    assert site.store.load("g").tasks["b"]["data"] == {"job_key": "f/a/1", "result": LARGE}
    site.delete("g")
    assert (site.prune(), site.names()) == (1, [])


def test_two_that_left_the_same_share_a_file(site: SharedSite) -> None:
    site.begin(job("a"), job("b"))
    for key in "ab":
        Hand.finish(key, result=LARGE)
    flow = site.tick()
    assert [flow.tasks[key]["data"]["result"] for key in "ab"] == [LARGE, LARGE]
    assert site.names() == [DIGEST]


def test_a_kill_between_file_and_row_leaves_only_what_prune_collects(site: SharedSite) -> None:
    site.begin(job())
    Hand.finish("a", result=LARGE)
    LargeResults(site.settings).set_apart({}, Outcome(status="COMPLETED", result=LARGE), in_folder=True)
    half = Path(site.place) / DIGEST[:2] / f"{DIGEST}.{'0' * 32}"  # of a kill while it was written
    half.write_bytes(b"{")
    (Path(site.place) / "README").write_text("ours")
    (Path(site.place) / DIGEST[:2] / "notes").write_text("ours, too")
    site.grow_old()
    assert (site.prune(), site.names()) == (2, [])
    flow = site.tick()  # somebody else ends the job
    assert flow.tasks["a"]["data"]["result"] == LARGE
    assert sorted(path.name for path in Path(site.place).rglob("*") if path.is_file()) == sorted(
        ["README", "notes", DIGEST]
    )


class TestNotWritten:
    def end(self, site: SharedSite) -> None:
        site.begin(job())
        Hand.finish("a", result=LARGE)
        flow = site.tick()
        assert flow.tasks["a"]["data"] == {"job_key": "f/a/1", "result": LARGE}
        assert site.stored() > len(TEXT)

    def test_it_goes_to_the_database(self, site: SharedSite, caplog: pytest.LogCaptureFixture) -> None:
        Path(site.place).write_text("no folder")
        self.end(site)
        (told,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert f"cannot be written to {site.place}, and goes to the database: " in told.getMessage()

    @pytest.mark.parametrize("place", ["memory://user:hush@results"])
    def test_whatever_a_file_system_raises(
        self, site: SharedSite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise KeyError("no bucket at https://user:hush@results")

        monkeypatch.setattr(fsspec.filesystem("memory"), "pipe_file", refuse)
        self.end(site)
        assert "cannot be written to memory://user:***@results" in caplog.text
        assert "KeyError: " in caplog.text
        assert "hush" not in caplog.text


def test_where_no_place_is_set_that_is_told(site: SharedSite) -> None:
    site.begin(job(), after("b", "look"))
    Hand.finish("a", result=LARGE)
    JobWatch(site.store, site.settings).look()
    site.settings = replace(site.settings, results_place=None)
    site.store.read_result = LargeResults(site.settings).read
    site.store.__dict__.pop("_loader", None)
    site.tick()
    flow = site.tick()
    assert flow.tasks["b"]["error"]["type"] == "ResultUnreadableError"
    assert "Set large_results in mc.toml to the folder or URL" in flow.tasks["b"]["error"]["message"]


def test_what_stayed_in_the_folder_of_its_job_before_is_read_still(site: SharedSite) -> None:
    shared, site.settings = site.settings, replace(site.settings, results_place=None, results_in_files=True)
    site.begin(job())
    Hand.finish("a", result=LARGE)
    site.tick()
    site.settings = shared
    assert site.store.load("f").tasks["a"]["data"]["result"] == LARGE
    assert site.names() == []


def test_what_is_written_again_while_it_is_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = FolderPlace(tmp_path)
    results.write(DIGEST, TEXT)
    path = tmp_path / DIGEST[:2] / DIGEST
    os.utime(path, (0, 0))
    rename = Path.rename

    def write_and_rename(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        results.write(DIGEST, TEXT)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", write_and_rename)
    assert not results.remove(DIGEST, datetime(2000, 1, 1, tzinfo=UTC))
    assert (path.read_bytes(), [*results.names()]) == (TEXT, [DIGEST])
