"""The flow dict: lossless both ways, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import CycleError, FlowFormatError, GraphError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler


class Unfinished(BaseTaskHandler):
    def tick_task(self) -> None:
        self.task["data"]["seen"] = self.task["data"].get("seen", 0) + 1


class Waiting(BaseTaskHandler):
    def initial_tick(self) -> None:
        self.wait_until(None)


HANDLERS = {"unfinished": Unfinished, "waiting": Waiting, "bad": lambda: 1 / 0}


def make_engine(clock: ManualClock) -> FlowEngine:
    return FlowEngine(task_handlers=HANDLERS, clock=clock)


def make_flow() -> Flow:
    return Flow.from_flow_spec(
        {
            "key": "k",
            "label": "Ünïcode",
            "version": 1.5,
            "description": "all sorts",
            "cfg": {"fail_fast": False, "timeout": "1h"},
            "data": {"z": 1, "a": [{"b": None}]},
            "params": {"type": "object"},
            "results": {"x": "$ctx.flow.data.z"},
            "tasks": [
                {"key": "z", "task_type": "unfinished"},
                {
                    "key": "bad",
                    "task_type": "bad",
                    "precursors": [],
                    "cfg": {"retry": {"max_attempts": 2, "delay": 60}},
                },
                {"key": "b", "task_type": "waiting", "precursors": []},
                {
                    "key": "a",
                    "task_type": "noop",
                    "precursors": ["z", "b"],
                    "task_params": {"m": "$ctx.flow.data.z"},
                },
                {
                    "key": "c",
                    "task_type": "noop",
                    "precursors": ["b", "z"],
                    "cfg": {"start_when": "all_finished"},
                },
            ],
        },
        depth=2,
        parent_key="p",
        parent_task_key="t",
    )


def through_text(flow_dict: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(flow_dict))
    return loaded


def through_sorted_text(flow_dict: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(flow_dict, sort_keys=True))
    return loaded


@pytest.mark.parametrize("trip", [copy.deepcopy, through_text, through_sorted_text])
class TestRoundTrip:
    @pytest.mark.parametrize("ticks", [0, 1, 2])
    def test_nothing_is_lost(self, trip: Any, ticks: int, clock: ManualClock) -> None:
        flow = make_flow()
        for _ in range(ticks):
            make_engine(clock).tick_flow(flow)
        flow_dict = flow.to_flow_dict()
        again = Flow.from_flow_dict(trip(flow_dict))
        assert again.to_flow_dict() == flow_dict
        assert list(again.tasks) == ["z", "bad", "b", "a", "c"]
        assert [task["key"] for task in again.get_precursors("c")] == ["b", "z"]
        assert again.get_edges() == flow.get_edges()

    def test_the_order_of_ticks_is_kept(self, trip: Any) -> None:
        ran: list[str] = []
        engine = FlowEngine(task_handler=lambda task: ran.append(task["key"]))
        order = ["m", "z", "a", "k"]
        flow = Flow.from_flow_spec(
            {"tasks": [{"key": key, "task_type": "t", "precursors": []} for key in order]}
        )
        engine.run_flow(Flow.from_flow_dict(trip(flow.to_flow_dict())))
        assert ran == order

    def test_an_ended_flow_stays_as_it_is(self, trip: Any, clock: ManualClock) -> None:
        flow = Flow.from_flow_spec(
            {
                "cfg": {"max_running_tasks": 1},
                "tasks": [
                    {"key": "bad", "task_type": "bad"},
                    {"key": "ready", "task_type": "noop", "precursors": []},
                    {"key": "after", "task_type": "noop", "precursors": ["bad"]},
                ],
            }
        )
        make_engine(clock).tick_flow(flow)
        flow_dict = flow.to_flow_dict()
        assert (flow.status, flow_dict["num_tickable_tasks"]) == ("FAILED", 0)
        again = Flow.from_flow_dict(trip(flow_dict))
        assert again.to_flow_dict() == flow_dict
        assert make_engine(clock).tick_flow(again).to_dict() == {
            **{kind: [] for kind in ("started", "completed", "failed", "skipped", "cancelled", "retried")},
            "calls": 0,
            "next_tick_at": None,
        }


class TestSharing:
    def test_a_flow_dict_shares_nothing_with_its_flow(self) -> None:
        flow = make_flow()
        flow_dict = flow.to_flow_dict()
        flow_dict["data"]["a"].clear()
        flow_dict["cfg"].clear()
        flow_dict["graph"]["tasks"]["a"]["task_params"].clear()
        flow_dict["spec"]["tasks"].clear()
        assert flow.to_flow_dict() == {**make_flow().to_flow_dict()}

    def test_a_flow_shares_nothing_with_the_dict_it_is_made_from(self, clock: ManualClock) -> None:
        flow_dict = make_flow().to_flow_dict()
        before = copy.deepcopy(flow_dict)
        flow = Flow.from_flow_dict(flow_dict)
        make_engine(clock).tick_flow(flow)
        flow.data["a"].append(1)
        assert flow_dict == before

    def test_it_is_json(self) -> None:
        json.dumps(make_flow().to_flow_dict(), allow_nan=False)

    def test_the_smallest_flow_dict_is_an_empty_flow(self) -> None:
        flow = Flow.from_flow_dict({"key": "k"})
        assert (flow.key, flow.status, list(flow.tasks)) == ("k", "PENDING", [])

    def test_its_shape(self) -> None:
        flow_dict = Flow.from_flow_spec(
            {"key": "k", "tasks": [{"key": "a", "task_type": "noop"}]}
        ).to_flow_dict()
        assert flow_dict["schema_version"] == 1
        assert flow_dict["graph"]["edges"] == [{"src_key": "ROOT", "dest_key": "a"}]
        assert flow_dict["graph"]["order"] == ["a"]
        assert set(flow_dict["graph"]["tasks"]) == {"ROOT", "a"}
        assert flow_dict["num_tickable_tasks"] == 1
        assert {"key", "label", "cfg", "data", "status", "depth", "parent_key"} <= set(flow_dict)


def task(**more: Any) -> dict[str, Any]:
    return {"graph": {"tasks": {"a": {"task_type": "noop", **more}}}}


class TestRefusals:
    @pytest.mark.parametrize(
        ("flow_dict", "pointer"),
        [
            ([], ""),
            ({"schema_version": 2}, "/schema_version"),
            ({"schema_version": True}, "/schema_version"),
            ({"colour": 1}, "/colour"),
            ({"key": 1}, "/key"),
            ({"depth": True}, "/depth"),
            ({"data": None}, "/data"),
            ({"status": "SKIPPED"}, "/status"),
            ({"graph": [1]}, "/graph"),
            ({"graph": {"tasks": [1]}}, "/graph/tasks"),
            ({"graph": {"edges": {"a": 1}}}, "/graph/edges"),
            ({"graph": {"edges": [{}]}}, "/graph/edges/0"),
            ({"graph": {"edges": [{"src_key": [], "dest_key": "a"}]}}, "/graph/edges/0"),
            ({"graph": {"tasks": {"a": 1}}}, "/graph/tasks/a"),
            (task(status="DONE"), "/graph/tasks/a/status"),
            (task(status=[]), "/graph/tasks/a/status"),
            (task(key="b"), "/graph/tasks/a/key"),
            (task(data=[]), "/graph/tasks/a/data"),
            (task(cfg="x"), "/graph/tasks/a/cfg"),
            (task(attempt="1"), "/graph/tasks/a/attempt"),
            (task(next_tick_at=5), "/graph/tasks/a/next_tick_at"),
            (task(status="WAITING", next_tick_at="soon"), "/graph/tasks/a/next_tick_at"),
            ({"graph": {"tasks": {"a": {}}, "order": ["b"]}}, "/graph/order"),
            ({"graph": {"tasks": {"a": {}}, "order": ["a", "a"]}}, "/graph/order"),
            ({"graph": {"tasks": {"a": {}}, "order": [[]]}}, "/graph/order"),
        ],
        ids=str,
    )
    def test_a_malformed_dict_is_refused_where_it_is_wrong(self, flow_dict: Any, pointer: str) -> None:
        with pytest.raises(FlowFormatError) as caught:
            Flow.from_flow_dict(flow_dict)
        assert caught.value.pointer == pointer

    def test_an_edge_to_nowhere_is_refused(self) -> None:
        with pytest.raises(GraphError, match="'x', which is not a task"):
            Flow.from_flow_dict({"graph": {"tasks": {"a": {}}, "edges": [{"src_key": "x", "dest_key": "a"}]}})

    def test_an_edge_into_root_is_refused(self) -> None:
        with pytest.raises(GraphError, match="leads into ROOT"):
            Flow.from_flow_dict(
                {"graph": {"tasks": {"a": {}}, "edges": [{"src_key": "a", "dest_key": "ROOT"}]}}
            )

    def test_a_cycle_is_refused(self) -> None:
        edges = [{"src_key": "a", "dest_key": "b"}, {"src_key": "b", "dest_key": "a"}]
        with pytest.raises(CycleError):
            Flow.from_flow_dict({"graph": {"tasks": {"a": {}, "b": {}}, "edges": edges}})

    def test_times_are_read_in_any_zone(self, clock: ManualClock) -> None:
        flow = Flow.from_flow_dict(
            {"status": "RUNNING", **task(status="WAITING", next_tick_at="2000-01-01T01:00:00+01:00")}
        )
        assert make_engine(clock).tick_flow(flow).completed == ["a"]
