"""Large parameters of a task with a flow inside of it, on each store: when they are read and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select

from mc.clock import ManualClock
from mc.errors import StoreError
from mc.flows.flow import Flow
from mc.houston import Houston
from mc.store.databases.base import BATCH
from mc.store.flow_store import FlowStore
from mc.store.schema import tables
from mc.task_handlers.base_task_handler import BaseTaskHandler

PARTS = (tables.task_part, tables.inner_task_part)


class WorkOrWait(BaseTaskHandler):
    """Completes at once, but for the item that is the last, which waits for a second, again and again."""

    has_effects = False

    def tick_task(self) -> None:
        if self.data.get("bad"):
            raise ValueError("it broke")
        if self.data.get("is_last"):
            self.wait_until(self.task_ctx.now() + timedelta(seconds=1))
        else:
            self.complete()


class Look(BaseTaskHandler):
    """Leaves what it finds of the parameters of the task around it."""

    def tick_task(self) -> None:
        around = self.task_ctx["parent"]["task"]
        params = {**around["task_params"]}
        self.complete(items=params["items"][-2:], names=list(params))


@pytest.fixture
def task_handlers() -> dict[str, Any]:
    return {"work": WorkOrWait, "look": Look}


def items(count: int) -> list[dict[str, Any]]:
    return [{"n": n, "pad": "x" * 20, "is_last": n == count - 1} for n in range(count)]


def spread(given: Any, **params: Any) -> dict[str, Any]:
    mapping = {
        "skeleton": {"task_type": "work"},
        "wirings": ["ctx.item.value.is_last => ctx.skeleton.data.is_last"],
    }
    params = {"items": given, "mapping_params": mapping, **params}
    return {"key": "each", "task_type": "spread", "task_params": params}


def inline(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": list(tasks)}}}


def specs(count: int) -> dict[str, dict[str, Any]]:
    """Return specs whose items stand in a task, in a task inside of one, and in the flow's data."""
    chosen = {"control_value": 1, "default_case": {"task": spread(items(count))}}
    return {
        "in the task": {"tasks": [spread(items(count))]},
        "inside of another": {"tasks": [inline(spread(items(count)))]},
        "in a chosen task": {"tasks": [{"key": "s", "task_type": "switch", "task_params": chosen}]},
        "in the data": {"data": {"all": items(count)}, "tasks": [spread("$ctx.flow.data.all")]},
    }


@contextmanager
def noted(store: FlowStore) -> Iterator[tuple[list[str], list[int]]]:
    """Note the statements that are sent while it is open, and how many characters are sent with them."""
    store.query()  # opens the database
    engine = store._database._engine
    statements, sizes = list[str](), list[int]()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _: Any) -> None:
        statements.append(statement)
        batch = context.execution_options.get(BATCH, ())
        sizes.append(len(str(parameters)) + sum(len(str(each.parameters)) for each in batch))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements, sizes
    finally:
        event.remove(engine, "before_cursor_execute", note)


def count_parts(store: FlowStore) -> int:
    def read(connection: Any) -> int:
        return sum(connection.scalar(select(func.count()).select_from(table)) for table in PARTS)

    return store._database.read(read)


@pytest.mark.parametrize("place", specs(1))
def test_a_tick_of_one_item_neither_reads_nor_writes_the_others(
    houston: Houston, clock: ManualClock, place: str
) -> None:
    sent = []
    for count in (300, 600):
        houston.submit(specs(count)[place], key=f"of {count}")
        houston.tick()
        clock.advance(1)
        with noted(houston.store) as (statements, sizes):
            assert houston.tick().tasks >= 1
        sent.append(sum(sizes))
        assert not any("task_part" in each or "mc_spec" in each for each in statements)
        houston.cancel(f"of {count}", by="ada")
    assert sent[1] < 1.1 * sent[0]


@pytest.mark.parametrize("place", specs(1))
def test_a_flow_that_is_read_has_all_of_them(houston: Houston, place: str) -> None:
    spec = specs(200)[place]
    in_memory = houston.engine.flow_spec_to_flow(spec, key="f")
    houston.engine.tick_flow_until_has_no_pending(in_memory)
    houston.submit(spec, key="f")
    houston.tick()
    assert count_parts(houston.store) > 0
    read = houston.store.load("f").to_flow_dict()
    assert _params(read["graph"]["tasks"]) == _params(in_memory.to_flow_dict()["graph"]["tasks"])
    for task in houston.store.load("f").tasks.values():
        assert type(task["task_params"]) is dict
        assert "parts_apart" not in task


def _params(tasks: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of tasks, at any depth."""
    found = {}
    for key, task in tasks.items():
        inside = (task.get("flow_dict") or {}).get("graph", {}).get("tasks", {})
        proxied = {"proxied": task["proxied_task"]} if "proxied_task" in task else {}
        names = ("task_params", "raw_task_params")
        found[key] = [{name: task.get(name) for name in names}, _params(inside), _params(proxied)]
    return found


@pytest.mark.parametrize("place", specs(1))
def test_a_copy_under_another_key_has_them_too(houston: Houston, clock: ManualClock, place: str) -> None:
    houston.submit(specs(200)[place], key="f")
    houston.tick()
    flow_dict = houston.store.load("f").to_flow_dict()
    houston.store.create(Flow.from_flow_dict({**flow_dict, "key": "copy"}))
    copied = houston.store.load("copy").to_flow_dict()
    assert _params(copied["graph"]["tasks"]) == _params(flow_dict["graph"]["tasks"])
    clock.advance(1)
    houston.tick()
    assert houston.store.summary("copy").status == "RUNNING"


@pytest.mark.parametrize("place", specs(1))
def test_none_of_them_is_left_when_the_task_has_ended(houston: Houston, place: str) -> None:
    houston.submit(specs(200)[place], key="f")
    houston.tick()
    assert count_parts(houston.store) > 0
    houston.cancel("f", by="ada")
    assert count_parts(houston.store) == 0
    params = _params(houston.store.load("f").to_flow_dict()["graph"]["tasks"])
    assert str(params).count("'is_last': True") >= (place != "in the data")


def test_a_task_inside_finds_them(houston: Houston, clock: ManualClock) -> None:
    houston.submit({"tasks": [spread(items(200))]}, key="f")
    houston.tick()
    flow = houston.store.load("f")
    flow.find_sub_flow(flow.tasks["each"]).add_task({"key": "look", "task_type": "look", "precursors": []})
    houston.store.save(flow)
    clock.advance(1)
    houston.tick()
    read = houston.store.load("f")
    found = read.find_sub_flow(read.tasks["each"]).tasks["look"]["data"]
    assert found == {"items": items(200)[-2:], "names": ["items", "mapping_params"]}


def test_a_retry_begins_with_what_was_written(houston: Houston) -> None:
    mapping = {
        "skeleton": {"task_type": "work", "cfg": {"allow_failure": False}},
        "wirings": [
            "ctx.item.value.is_last => ctx.skeleton.data.is_last",
            "ctx.item.value.bad => ctx.skeleton.data.bad",
        ],
    }
    given = [{**item, "bad": False} for item in items(200)]
    task = {"key": "each", "task_type": "spread", "task_params": {"items": given, "mapping_params": mapping}}
    houston.submit({"tasks": [task]}, key="f")
    houston.tick()
    houston.cancel("f", by="ada")
    houston.retry("f", by="ada")
    houston.tick()
    params = houston.store.load("f").tasks["each"]["task_params"]
    assert params == {"items": given, "mapping_params": mapping}
    assert houston.store.summary("f").status == "RUNNING"


def test_an_entry_of_a_handler_that_has_their_name_is_none_of_them(houston: Houston) -> None:
    flow = houston.engine.flow_spec_to_flow({"tasks": [spread(items(200))]}, key="f")
    flow.tasks["each"]["parts_apart"] = [[0, "task_params", "items", "?"]]
    houston.store.create(flow)
    houston.tick()
    assert houston.store.load("f").tasks["each"]["task_params"]["items"] == items(200)


def test_an_entry_of_the_data_that_has_their_name_is_none_of_them(
    houston: Houston, clock: ManualClock
) -> None:
    data = {"parts_apart": ["mine"], "is_last": True}
    houston.submit({"tasks": [{"key": "one", "task_type": "work", "data": data}]}, key="f")
    houston.tick()
    clock.advance(1)
    houston.tick()
    assert houston.store.load("f").tasks["one"]["data"] == data


def test_a_part_that_is_gone_is_told(houston: Houston) -> None:
    houston.submit(specs(200)["in the task"], key="f")
    houston.tick()
    houston.store._database.write(lambda connection: connection.execute(tables.task_part.delete()))
    with pytest.raises(StoreError, match="rows of flow 'f' cannot be read"):
        houston.store.load("f")
