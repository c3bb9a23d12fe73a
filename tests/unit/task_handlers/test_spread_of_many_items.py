"""A spread over 10,000 items: a few at a time, in order, and what fails of it."""

from __future__ import annotations

from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import FlowError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.observer import ChangeEvent

COUNT = 10_000
LIMIT = 250


class Active:
    """Counts the item tasks that are RUNNING or WAITING at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def on_change(self, event: ChangeEvent) -> None:
        if event.task_key is None or not event.task_key.startswith("item_"):
            return
        active = ("RUNNING", "WAITING")
        self.now += (event.new_status in active) - (event.old_status in active)
        self.most = max(self.most, self.now)


def spread(skeleton: dict[str, Any], container: str, count: int = COUNT, **cfg: Any) -> Flow:
    params = {
        "items": "$ctx.flow.data.items",
        "container_task_type": container,
        "mapping_params": {"skeleton": skeleton, "wirings": ["ctx.item.value => ctx.skeleton.data.n"]},
    }
    tasks = [{"key": "s", "task_type": "spread", "task_params": params}]
    return Flow.from_flow_spec(
        {"key": "f", "cfg": cfg, "data": {"items": list(range(count))}, "tasks": tasks}
    )


def fail_at_hundreds(task: dict[str, Any]) -> None:
    if task["data"]["n"] % 100 == 0:
        raise ValueError(f"item {task['data']['n']}")


@pytest.mark.parametrize("container", ["inline_flow", "flow"])
class TestLimit:
    def test_no_more_than_max_running_tasks_of_the_flow_run_at_the_same_time(self, container: str) -> None:
        """Each item waits, so that those that have started are still there when others could start."""
        active, clock = Active(), ManualClock()
        engine = FlowEngine(clock=clock, observers=[active])
        wait = {"task_type": "wait", "task_params": {"duration": 60}}
        flow = spread(wait, container, max_running_tasks=LIMIT)
        began = clock.now()
        engine.run_flow(flow)
        assert (flow.status, active.most, active.now) == ("COMPLETED", LIMIT, 0)
        assert (clock.now() - began).total_seconds() == 60 * COUNT / LIMIT
        assert [result["n"] for result in flow.tasks["s"]["data"]["results"]] == list(range(COUNT))

    def test_without_a_limit_all_run_at_the_same_time(self, container: str) -> None:
        active = Active()
        wait = {"task_type": "wait", "task_params": {"duration": 60}}
        flow = spread(wait, container, count=300)
        FlowEngine(clock=ManualClock(), observers=[active]).run_flow(flow)
        assert active.most == 300

    def test_items_that_were_allowed_to_fail_leave_null_in_their_places(self, container: str) -> None:
        flow = spread(
            {"task_type": "fail", "cfg": {"allow_failure": True}}, container, max_running_tasks=LIMIT
        )
        FlowEngine(task_handlers={"fail": fail_at_hundreds}).run_flow(flow)
        assert flow.tasks["s"]["data"]["results"] == [
            {"n": number} if number % 100 else None for number in range(COUNT)
        ]

    def test_a_failure_that_is_not_allowed_names_the_item_and_starts_no_more(self, container: str) -> None:
        calls: list[int] = []

        def fail_late(task: dict[str, Any]) -> None:
            calls.append(task["data"]["n"])
            if task["data"]["n"] == LIMIT + 3:
                raise ValueError("no more")

        flow = spread({"task_type": "fail"}, container, max_running_tasks=LIMIT)
        with pytest.raises(FlowError, match=f"task 'item_{LIMIT + 3}': ValueError: no more"):
            FlowEngine(task_handlers={"fail": fail_late}).run_flow(flow)
        assert calls == list(range(LIMIT + 4))
