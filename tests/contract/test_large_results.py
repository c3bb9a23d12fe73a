"""Large results of jobs on each database: left in the folders of the jobs, read by those who ask for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mc.clock import ManualClock
from mc.context.late_dict import LateDict
from mc.context.sizes import Limits
from mc.errors import StoreError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.jobs.job_settings import JobSettings
from mc.houston import Houston
from mc.jobs.job_watch import JobWatch
from mc.jobs.jobs import Jobs
from mc.jobs.large_results import LargeResults, ResultUnreadableError
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from mc.store.rows.task_parts import refuse_results
from mc.store.schema import tables
from mc.task_handlers.base_task_handler import BaseTaskHandler
from tests.support.hand_driven_executor import HandDrivenExecutor as Hand
from tests.support.invariants import Seen, check_store

KIND = "tests.support.hand_driven_executor:HandDrivenExecutor"
LARGE = {"rows": [{"n": n, "text": "ä" * 60} for n in range(1000)], "last": 7}


def make(size: int) -> dict[str, Any]:
    return {"text": "x" * size, "size": size}


def double(number: int) -> int:
    return 2 * number


def ok() -> None:
    """Do nothing: the executor of these tests does not call it."""


class Look(BaseTaskHandler):
    """Leaves the number of rows that it finds in another task, as Python that knows nothing of files."""

    def tick_task(self) -> None:
        rows = self.task_ctx.flow.tasks["a"]["data"]["result"]["rows"]
        self.complete(count=len(rows))


class Change(BaseTaskHandler):
    """Changes the result of another task."""

    def tick_task(self) -> None:
        self.task_ctx.flow.tasks["a"]["data"]["result"]["last"] = "changed"
        self.complete()


class Site:
    """A store, and a runner that keeps large results in files."""

    def __init__(self, store: FlowStore, clock: ManualClock, folder: Path) -> None:
        self.store, self.clock, self.folder = store, clock, folder
        self.settings = JobSettings(
            data_folder=folder, executor="hand", executors={"hand": {"kind": KIND}}, results_in_files=True
        )
        store.read_result = LargeResults(self.settings).read
        self.engine = self.new_engine()

    def new_engine(self, **options: Any) -> FlowEngine:
        handlers = {"look": Look, "change": Change}
        return FlowEngine(task_handlers=handlers, handler_modules=__name__, clock=self.clock, **options)

    def begin(self, *tasks: dict[str, Any], **spec: Any) -> None:
        self.store.create(self.engine.flow_spec_to_flow({"key": "f", "tasks": [*tasks], **spec}))
        self.tick()

    def tick(self) -> Flow:
        self.clock.advance(60)
        FlowRunner(self.store, self.engine, jobs=JobWatch(self.store, self.settings)).tick()
        return self.store.load("f")

    def path(self, key: str = "f/a/1") -> Path:
        return Jobs(self.store, self.settings).folder(key).path / "outcome.json"

    def stored(self) -> int:
        """Return how many characters the database holds of tasks and jobs."""
        columns = (tables.task.c.body, tables.inner_task.c.body, tables.job.c.outcome)

        def read(connection: Any) -> int:
            return sum(len(text or "") for each in columns for text in connection.scalars(select(each)))

        return self.store._database.read(read)


def job(key: str = "a", *precursors: str, **more: Any) -> dict[str, Any]:
    params = {"job_type": f"{__name__}:ok", **more.pop("params", {})}
    return {"key": key, "task_type": "job", "task_params": params, "precursors": [*precursors], **more}


def after(key: str, task_type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "precursors": ["a"], **more}


@pytest.fixture
def site(store: FlowStore, clock: ManualClock, tmp_path: Path) -> Iterator[Site]:
    Hand.reset()
    yield Site(store, clock, tmp_path)
    check_store(store, Seen(people_act=True))
    Hand.reset()


def test_a_large_result_is_the_task_s_data_and_not_in_the_database(site: Site) -> None:
    site.begin(job())
    Hand.finish("a", result=LARGE)
    flow = site.tick()
    assert flow.status == "COMPLETED"
    assert site.stored() < 5_000
    assert flow.tasks["a"]["data"] == {"job_key": "f/a/1", "result": LARGE}
    apart = site.store.jobs.get("f/a/1").to_dict()["outcome"]["result_apart"]
    assert apart["bytes"] == len(json.dumps(LARGE, ensure_ascii=False, separators=(",", ":")).encode())


def test_a_small_one_stays_in_the_database(site: Site) -> None:
    site.begin(job())
    Hand.finish("a", result="x" * 60_000)
    flow = site.tick()
    site.path().unlink()
    assert flow.tasks["a"]["data"]["result"] == "x" * 60_000


READERS = {
    "a reference": after(
        "b", "wire", task_params={"wirings": ["ctx.flow.tasks.a.data.result.last => ctx.flow.data.x"]}
    ),
    "a param": job("b", "a", params={"job_params": {"x": "$ctx.flow.tasks.a.data.result.last"}}),
    "a condition": after(
        "b", cfg={"when": {"value": "$ctx.flow.tasks.a.data.result.last", "op": "eq", "arg": 7}}
    ),
    "a handler": after("b", "look"),
}


@pytest.mark.parametrize("by", READERS)
class TestReading:
    def test_whoever_asks_for_it_finds_it(self, site: Site, by: str) -> None:
        site.begin(job(), READERS[by], results={"last": "$ctx.flow.tasks.a.data.result.last"})
        Hand.finish("a", result=LARGE)
        flow = site.tick()
        if by == "a param":
            assert Hand.started[Hand.newest("b")].job.work["kwargs"] == {"x": 7}
            Hand.finish("b")
        else:
            flow = site.tick()
        flow = site.tick()
        assert flow.status == "COMPLETED", flow.error
        assert flow.results == {"last": 7}
        assert site.stored() < 8_000  # who read it left it where it was

    def test_what_is_gone_fails_who_asks_for_it_with_a_sentence(self, site: Site, by: str) -> None:
        site.begin(job(), READERS[by])
        Hand.finish("a", result=LARGE)
        JobWatch(site.store, site.settings).look()  # taken in, and lost before anybody reads it
        site.path().rename(site.folder / "elsewhere")
        site.tick()
        flow = site.tick()
        assert flow.status == "FAILED"
        error = flow.tasks["b"]["error"]
        assert "The result of job 'f/a/1' is large and was left in" in error["message"]
        (site.folder / "elsewhere").rename(site.path())
        assert flow.tasks["a"]["data"]["result"] == LARGE


def test_what_a_task_changed_in_a_result_is_kept(site: Site) -> None:
    site.begin(job(), after("b", "change"))
    Hand.finish("a", result=LARGE)
    site.tick()
    flow = site.tick()
    assert flow.tasks["a"]["data"]["result"] == {**LARGE, "last": "changed"}
    assert json.loads(site.path().read_text())["result"] == LARGE


def test_a_file_that_was_changed_is_told(site: Site) -> None:
    site.begin(job())
    Hand.finish("a", result=LARGE)
    flow = site.tick()
    Hand.finish("a", result={**LARGE, "last": 8})
    with pytest.raises(ResultUnreadableError, match="is not what the job left there"):
        flow.tasks["a"]["data"]["result"]


def test_what_the_job_says_of_another_place_counts_for_nothing(site: Site) -> None:
    site.begin(job())
    Hand.finish("a", result="small", result_apart={"sha256": "0" * 64, "bytes": 5})
    assert site.tick().tasks["a"]["data"]["result"] == "small"


def test_it_is_no_larger_than_what_a_task_may_leave(site: Site) -> None:
    site.engine = site.new_engine(limits=Limits(task_bytes=70_000))
    site.begin(job())
    Hand.finish("a", result=LARGE)
    flow = site.tick()
    assert flow.tasks["a"]["error"]["type"] == "SizeError"
    assert "but a task may leave 70,000" in flow.tasks["a"]["error"]["message"]


def test_a_reference_brings_no_more_than_it_may(site: Site) -> None:
    site.engine = site.new_engine(limits=Limits(value_bytes=70_000))
    site.begin(job(), job("b", "a", params={"job_params": {"x": "$ctx.flow.tasks.a.data.result"}}))
    Hand.finish("a", result=LARGE)
    site.tick()
    assert site.tick().tasks["b"]["error"]["type"] == "SizeError"


def test_it_is_read_through_a_switch_as_well(site: Site) -> None:
    inner = {name: value for name, value in job("inner").items() if name != "precursors"}
    case = {"control_value": 1, "default_case": {"task": inner}}
    site.begin({"key": "a", "task_type": "switch", "task_params": case}, after("b", "look"))
    Hand.finish("a/inner", result=LARGE)
    site.tick()
    flow = site.tick()
    assert flow.tasks["b"]["data"] == {"count": 1000}
    assert flow.tasks["a"]["data"]["result"] == LARGE
    assert site.stored() < 8_000


def test_items_of_a_spread_leave_theirs_apart(site: Site) -> None:
    params = {"items": [1, 2], "mapping_params": {"skeleton": job("each")}}
    site.begin({"key": "s", "task_type": "spread", "task_params": params})
    Hand.finish("s/item_0", result=LARGE)
    site.tick()
    assert site.stored() < 8_000
    Hand.finish("s/item_1", result="small")
    flow = site.tick()
    assert flow.status == "COMPLETED"
    assert [each["result"] for each in flow.tasks["s"]["data"]["results"]] == [LARGE, "small"]


def test_an_exported_flow_holds_it_and_needs_no_file(site: Site) -> None:
    site.begin(job(), after("b", "wait", task_params={"duration": "1h"}))
    Hand.finish("a", result=LARGE)
    exported = json.loads(json.dumps(site.tick().to_flow_dict()))
    assert exported["graph"]["tasks"]["a"]["data"]["result"] == LARGE
    taken_along = Flow.from_flow_dict({**exported, "key": "other"})
    copied = site.store.load("f")
    copied.state.key = "copied"
    site.store.create(taken_along)
    site.store.create(copied)
    site.path().unlink()
    for key in ("other", "copied"):
        assert site.store.load(key).tasks["a"]["data"]["result"] == LARGE


def test_it_goes_with_its_flow(site: Site) -> None:
    site.begin(job())
    Hand.finish("a", result=LARGE)
    site.tick()
    site.store.upkeep.delete("f")
    Jobs(site.store, site.settings).remove_left()
    assert not site.path().parent.exists()


def test_a_store_that_was_not_told_where_they_are_says_so(site: Site, store_url: str) -> None:
    site.begin(job())
    Hand.finish("a", result=LARGE)
    site.tick()
    site.store.read_result = refuse_results
    site.store.__dict__.pop("_loader")
    flow = site.store.load("f")
    assert flow.status == "COMPLETED"
    with pytest.raises(StoreError, match="The result of job 'f/a/1' is large and in a file"):
        flow.to_flow_dict()


def test_where_files_are_not_set_all_stay_in_the_database(site: Site) -> None:
    site.settings = replace(site.settings, results_in_files=False)
    site.begin(job())
    Hand.finish("a", result=LARGE)
    flow = site.tick()
    site.path().unlink()
    assert type(flow.tasks["a"]["data"]) is not LateDict
    assert flow.tasks["a"]["data"]["result"] == LARGE


def test_five_megabytes_of_a_local_job_stay_out_of_the_database(tmp_path: Path) -> None:
    made = {"function": f"{__name__}:make", "args": [5_000_000], "executor": "local"}
    doubled = {"function": f"{__name__}:double", "args": ["$ctx.flow.tasks.make.data.result.size"]}
    spec = {
        "tasks": [
            {"key": "make", "task_type": "call", "task_params": made},
            {"key": "double", "task_type": "call", "task_params": doubled},
        ],
        "results": {"doubled": "$ctx.flow.tasks.double.data.result"},
    }
    with Houston(f"sqlite:///{tmp_path}/flows.sqlite3", handler_modules=__name__) as houston:
        flow = houston.run(spec)
        assert flow.results == {"doubled": 10_000_000}, flow.error
        assert len(flow.tasks["make"]["data"]["result"]["text"]) == 5_000_000
    files = [path for path in tmp_path.glob("flows.sqlite3*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000
