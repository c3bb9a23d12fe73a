"""Coroutine handlers: under asyncio they run concurrently, elsewhere they are refused."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler


def flow_of(*task_types: str, **cfg: Any) -> Flow:
    tasks = [{"key": f"t{n}", "task_type": name, "precursors": []} for n, name in enumerate(task_types)]
    return Flow.from_flow_spec({"cfg": cfg, "tasks": tasks})


def statuses(flow: Flow) -> list[str]:
    return [task["status"] for task in flow.tasks.values()]


async def ready() -> dict[str, Any]:
    return {"x": 1}


class Later(BaseTaskHandler):
    async def initial_tick(self) -> None:
        self.complete(x=2)


class TestSyncFront:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize(
        "handler", [ready, Later, lambda task: ready(), lambda: Later({}, {}).initial_tick()]
    )
    def test_a_coroutine_handler_is_a_clear_error_and_no_warning(self, handler: Any) -> None:
        flow = flow_of("later")
        FlowEngine(task_handlers={"later": handler}).tick_flow(flow)
        gc.collect()
        assert statuses(flow) == ["FAILED"]
        error = flow.tasks["t0"]["error"]
        assert error["type"] == "CoroutineHandlerError"
        assert "await engine.atick_flow(flow)" in error["message"]

    def test_other_tasks_go_on_where_a_failure_does_not_end_the_flow(self) -> None:
        flow = flow_of("later", "noop", fail_fast=False)
        FlowEngine(task_handlers={"later": ready}).tick_flow(flow)
        assert statuses(flow) == ["FAILED", "COMPLETED"]


class TestAsyncFront:
    def test_coroutine_handlers_run_concurrently(self) -> None:
        async def run() -> Flow:
            barrier = asyncio.Barrier(3)

            async def meet() -> dict[str, Any]:
                await barrier.wait()  # only when all three are there
                return {"met": True}

            flow = flow_of("meet", "meet", "meet")
            report = await FlowEngine(task_handlers={"meet": meet}).atick_flow(flow)
            assert report.calls == 3
            return flow

        flow = asyncio.run(run())
        assert flow.status == "COMPLETED"
        assert [flow.tasks[key]["data"] for key in ("t0", "t1", "t2")] == [{"met": True}] * 3

    def test_plain_and_coroutine_handlers_mix(self) -> None:
        engine = FlowEngine(task_handlers={"ready": ready, "later": Later, "plain": lambda: {"x": 3}})
        flow = flow_of("ready", "noop", "later", "plain")
        asyncio.run(engine.atick_flow(flow))
        assert flow.status == "COMPLETED"
        assert [task["data"] for task in flow.filter_tasks()] == [{"x": 1}, {}, {"x": 2}, {"x": 3}]

    def test_a_failure_does_not_keep_the_others_from_ending(self) -> None:
        async def bad() -> None:
            raise ValueError("bad")

        async def slow() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        flow = flow_of("bad", "slow")
        asyncio.run(FlowEngine(task_handlers={"bad": bad, "slow": slow}).atick_flow(flow))
        assert statuses(flow) == ["FAILED", "COMPLETED"]
        assert flow.tasks["t0"]["error"]["message"] == "bad"

    def test_sys_exit_in_a_coroutine_is_a_failure(self) -> None:
        async def bad() -> None:
            raise SystemExit(3)

        flow = flow_of("bad", "noop")
        asyncio.run(FlowEngine(task_handlers={"bad": bad}).atick_flow(flow))
        assert statuses(flow) == ["FAILED", "COMPLETED"]

    def test_a_handler_that_awaits_something_cancelled_fails(self) -> None:
        async def bad() -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        flow = flow_of("bad", "ready")
        asyncio.run(FlowEngine(task_handlers={"bad": bad, "ready": ready}).atick_flow(flow))
        assert statuses(flow) == ["FAILED", "COMPLETED"]
        assert flow.tasks["t0"]["error"]["type"] == "CancelledError"

    def test_cancellation_leaves_a_flow_that_can_be_ticked_again(self) -> None:
        calls: list[str] = []

        async def run() -> Flow:
            started, release = asyncio.Event(), asyncio.Event()

            async def stuck(task: dict[str, Any]) -> None:
                calls.append(task["key"])
                task["status"] = "WAITING"  # not settled yet
                started.set()
                await release.wait()
                task["status"] = "COMPLETED"

            engine = FlowEngine(task_handlers={"stuck": stuck})
            flow = flow_of("stuck", "noop")
            ticking = asyncio.create_task(engine.atick_flow(flow))
            await started.wait()
            ticking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ticking
            assert statuses(flow) == ["RUNNING", "COMPLETED"]
            flow.check_invariants()
            again = Flow.from_flow_dict(flow.to_flow_dict())
            release.set()
            await engine.atick_flow(flow)
            await engine.atick_flow(again)
            assert statuses(again) == ["COMPLETED", "COMPLETED"]
            return flow

        flow = asyncio.run(run())
        assert (flow.status, calls) == ("COMPLETED", ["t0"] * 3)

    def test_a_status_written_by_a_handler_that_still_runs_is_not_taken_up_by_others(self) -> None:
        async def run() -> Flow:
            written = asyncio.Event()

            async def slow(task: dict[str, Any], flow: Flow) -> None:
                flow.tasks[task["key"]]["status"] = "FAILED"
                written.set()
                for _ in range(5):
                    await asyncio.sleep(0)
                task.update(status="FAILED", error="my own reason")

            async def other(flow: Flow) -> None:
                await written.wait()
                flow.tasks["t0"]

            flow = flow_of("slow", "other")
            await FlowEngine(task_handlers={"slow": slow, "other": other}).atick_flow(flow)
            return flow

        flow = asyncio.run(run())
        assert statuses(flow) == ["FAILED", "COMPLETED"]
        assert flow.tasks["t0"]["error"]["message"] == "my own reason"

    def test_output_is_checked(self) -> None:
        async def bad() -> dict[str, Any]:
            return {"x": {1}}

        flow = flow_of("bad")
        asyncio.run(FlowEngine(task_handlers={"bad": bad}).atick_flow(flow))
        assert flow.tasks["t0"]["error"]["type"] == "NotJsonError"

    def test_a_flow_is_run_to_its_end(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"ready": ready}, clock=clock)
        tasks = [
            {"key": "a", "task_type": "ready"},
            {"key": "b", "task_type": "wait", "task_params": {"duration": 60}},
            {"key": "c", "task_type": "ready"},
        ]
        flow = asyncio.run(engine.arun_flow(Flow.from_flow_spec({"tasks": tasks})))
        assert flow.status == "COMPLETED"
        assert (clock.now() - ManualClock().now()).total_seconds() == 60

    def test_run_flow_raises_what_its_twin_raises(self) -> None:
        engine = FlowEngine(task_handlers={"bad": lambda: 1 / 0})
        with pytest.raises(FlowEngine.FlowError, match="division by zero"):
            asyncio.run(engine.arun_flow(flow_of("bad")))
