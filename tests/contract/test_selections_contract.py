"""Flows are selected by the same rules on each kind of database, page by page, newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowNotFoundError, SelectionError
from mc.flows.flow import Flow
from mc.houston import Houston
from mc.store.flow_selection import FlowSelection
from mc.store.flow_store import FlowStore

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "9h"}}
FAIL = {
    "key": "fail",
    "task_type": "wire",
    "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
}
INNER = {"key": "in", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [NAP]}}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def town(houston: Houston, clock: ManualClock) -> Houston:
    """Flows that began at 12, 13, 14 and 15 o'clock; now it is 16, and one has failed."""
    houston.submit({"tasks": [NAP]}, key="order:1", label="paid")
    clock.advance("1h")
    houston.tick()
    houston.submit({"tasks": [FAIL]}, key="order:2", label="open")
    clock.advance("1h")
    houston.tick()
    houston.submit({"tasks": [INNER]}, key="order_3", label="paid")
    houston.tick()
    clock.advance("1h")
    houston.submit({"tasks": [NAP]}, key="Order:4")
    clock.advance("1h")
    return houston


def test_a_family_is_a_flow_with_its_stored_sub_flows_and_none_whose_key_begins_the_same(
    houston: Houston,
) -> None:
    nested = {"key": "out", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [INNER]}}}
    houston.submit({"tasks": [nested]}, key="f")
    houston.submit({"tasks": [NAP]}, key="f/other")
    houston.tick()
    family = FlowSelection(family_of="f", sub_flows=True)
    found = {summary.key for summary in houston.store.select(family).read()}
    assert found == {"f", "f/out/1", "f/out/1/in/1"}
    assert keys(houston.store.select(FlowSelection(family_of="f")).read()) == ["f"]
    assert keys(houston.store.select(FlowSelection(family_of="g")).read()) == []


def keys(found: Any) -> list[str]:
    return [summary.key for summary in found]


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["Order:4", "order_3", "order:2", "order:1"]),
    ({"status": "FAILED"}, ["order:2"]),
    ({"status": ["FAILED", "COMPLETED", "FAILED"]}, ["order:2"]),
    ({"status": ("RUNNING", "PENDING")}, ["Order:4", "order_3", "order:1"]),
    ({"label": "paid"}, ["order_3", "order:1"]),
    ({"label": "paid", "status": "PAUSED"}, []),
    ({"prefix": "order"}, ["order_3", "order:2", "order:1"]),
    ({"prefix": "order:"}, ["order:2", "order:1"]),
    ({"prefix": "order_"}, ["order_3"]),  # which stands for any character elsewhere in SQL
    ({"prefix": "%"}, []),
    ({"since": "2h"}, ["Order:4", "order_3"]),
    ({"since": timedelta(hours=2)}, ["Order:4", "order_3"]),
    ({"since": 7200}, ["Order:4", "order_3"]),
    ({"until": "2h"}, ["order:2", "order:1"]),
    ({"since": "2026-01-02T14:00:00+01:00", "until": NOON + timedelta(hours=3)}, ["order_3", "order:2"]),
    ({"since": "1h", "until": "1h"}, []),
    ({"until": "2027-01-01T00:00:00Z", "status": "FAILED"}, ["order:2"]),
    ({"time": "finished"}, ["order:2"]),
    ({"time": "finished", "since": "1h"}, []),
    ({"time": "finished", "until": "1h", "label": "open"}, ["order:2"]),
    ({"limit": 2}, ["Order:4", "order_3"]),
    ({"limit": 0}, []),
    ({"after": "order_3"}, ["order:2", "order:1"]),
    ({"after": "order_3", "limit": 1, "status": "RUNNING"}, ["order:1"]),
    ({"after": "order:1"}, []),
]


def test_flows_are_chosen_by_all_that_is_asked(town: Houston) -> None:
    assert [(filters, keys(town.list(**filters))) for filters, _ in CASES] == CASES
    counted = [(filters, expected) for filters, expected in CASES if not {"limit", "after"} & filters.keys()]
    numbers = [town.count(FlowSelection(**filters)) for filters, _ in counted]
    assert numbers == [len(expected) for _, expected in counted]


def test_sub_flows_are_left_out_unless_they_are_asked_for(town: Houston) -> None:
    (sub_flow,) = {*keys(town.list(sub_flows=True))} - {*keys(town.list())}
    assert sub_flow.startswith("order_3/")
    assert keys(town.list(prefix="order_3/", sub_flows=True)) == [sub_flow]
    assert town.list(prefix="order_3/") == []
    assert town.count(FlowSelection(sub_flows=True)) == 5


def test_flows_that_are_named_are_read_whatever_they_are(town: Houston) -> None:
    (sub_flow,) = {*keys(town.list(sub_flows=True))} - {*keys(town.list())}
    named = town.store.select(FlowSelection(keys=["order:1", sub_flow, "gone", "order:1"]))
    assert (keys(named.read()), named.count()) == ([sub_flow, "order:1"], 2)
    assert list(named.read_keys()) == ["order:1", sub_flow, "gone"]


def test_flows_that_ended_are_sorted_by_their_end(houston: Houston, clock: ManualClock) -> None:
    for key, duration in (("long", "2h"), ("short", "1h")):
        houston.submit({"tasks": [{**NAP, "task_params": {"duration": duration}}]}, key=key)
        clock.advance("1s")
    for _ in range(3):
        houston.tick()
        clock.advance("1h")
    assert keys(houston.list(time="finished")) == ["long", "short"]
    assert keys(houston.list()) == ["short", "long"]
    assert keys(houston.list(time="finished", after="long")) == ["short"]
    assert [flow.finished_at for flow in houston.list(time="finished", limit=1)] == [
        NOON + timedelta(hours=2, seconds=2)
    ]


def test_pages_hold_each_flow_once_even_if_all_are_of_one_time(
    store: FlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mc.store.reading.selected_flows._PAGE", 3)
    wanted = [f"f{number}" for number in range(10)]
    store.create_many(Flow(key=key) for key in wanted)
    selected = store.select(FlowSelection())
    assert keys(selected.read()) == wanted[::-1]
    assert keys(selected.read(7)) == wanted[:2:-1]
    assert keys(selected.read(4, after="f5")) == ["f4", "f3", "f2", "f1"]
    assert list(selected.read_keys()) == wanted[::-1]


def test_a_prefix_may_end_with_any_character(store: FlowStore) -> None:
    ends = ("\U0010ffff", "\ud7ff", "z", "")
    prefixes = [f"a{end}" for end in ends]
    stored = [f"{prefix}{more}" for prefix in [*prefixes, "A"] for more in ("", " ", "\t", "\U0010ffff")]
    store.create_many(Flow(key=key) for key in {*stored, "b", "\ue000", "\U0010ffff"})
    for prefix in [*prefixes, "\U0010ffff", "A"]:
        found = {*keys(store.select(FlowSelection(prefix=prefix)).read())}
        assert found == {key for key in {*stored, "\U0010ffff"} if key.startswith(prefix)}


class TestPinned:
    def test_what_was_not_there_or_has_changed_since_is_left_out(
        self, town: Houston, clock: ManualClock
    ) -> None:
        pinned = FlowSelection(since="1d").pin(clock.now())
        assert pinned.pin(clock.now() + timedelta(days=9)) == pinned
        clock.advance("1s")
        town.submit({"tasks": [NAP]}, key="new")
        town.pause("order:1", by="ann")
        town.retry("order:2", by="ann")
        town.pause("Order:4", by="ann")
        assert keys(town.store.select(pinned).read()) == ["order:2", "order_3"][::-1]
        selected = town.store.select(FlowSelection(status="FAILED").pin(clock.now()))
        assert not selected.has("order:2")

    def test_what_runs_goes_on_meanwhile(self, town: Houston, clock: ManualClock) -> None:
        selected = town.store.select(FlowSelection(status=["RUNNING", "PENDING"]).pin(clock.now()))
        clock.advance("1s")
        town.tick()
        assert (selected.count(), selected.has("order_3"), selected.has("Order:4")) == (3, True, True)


class TestBadInput:
    @pytest.mark.parametrize(
        ("filters", "said"),
        [
            ({"status": "FALED"}, "'FALED' is not a flow status; use one of PENDING"),
            ({"status": ["FAILED", "SKIPPED"]}, "'SKIPPED' is not a flow status"),
            ({"since": "2027-01-01T00:00:00Z"}, "which is still to come: it is 2026-01-02T12:00"),
            ({"since": "1h", "until": "2h"}, "comes after `until`, 2026-01-02T10:00.*Exchange them"),
            ({"since": "yesterday"}, "`since`: 'yesterday' is neither how long ago.*such as"),
            ({"until": "2026-01-02 10:00"}, "`until`: .* is not a date and a time"),
            ({"until": datetime(2026, 1, 2)}, "names no time zone"),  # noqa: DTZ001 - that is what is tried
            ({"until": -3}, "between 0 and 100 years|neither how long ago"),
            ({"until": True}, "neither how long ago"),
            ({"time": "started"}, "no time 'started'; there are created and finished"),
            ({"prefix": ""}, "An empty prefix"),
            ({"limit": -1}, "-1"),
        ],
        ids=str,
    )
    def test_what_cannot_be_chosen_is_told(self, filters: dict[str, Any], said: str) -> None:
        with (
            Houston("sqlite://", clock=ManualClock(NOON)) as houston,
            pytest.raises(SelectionError, match=said),
        ):
            houston.list(**filters)

    def test_keys_and_filters_do_not_go_together(self) -> None:
        with pytest.raises(SelectionError, match="not by both at once"):
            FlowSelection(keys=["a"], status="FAILED")

    def test_nothing_comes_after_a_flow_that_is_not_there(self, town: Houston) -> None:
        with pytest.raises(FlowNotFoundError, match="'gone'"):
            town.list(after="gone")
        with pytest.raises(FlowNotFoundError, match="'order:1' is stored that was finished"):
            town.list(after="order:1", time="finished")
