"""Retries and timeouts, by a clock that is set."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.task_handlers.base_task_handler import BaseTaskHandler


def task(key: str, task_type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, **more}


def flow_with(retry: dict[str, Any], key: str = "f", **more: Any) -> Flow:
    return Flow.from_flow_spec({"key": key, "tasks": [task("a", "bad", cfg={"retry": retry}, **more)]})


def bad() -> None:
    raise TimeoutError("slow")


def delays(clock: ManualClock, retry: dict[str, Any], key: str = "f") -> list[float]:
    """Return the seconds between the attempts."""
    times: list[float] = []

    def handle() -> None:
        times.append(clock.timestamp())
        raise ValueError

    with pytest.raises(FlowEngine.FlowError):
        FlowEngine(task_handlers={"bad": handle}, clock=clock).run_flow(flow_with(retry, key))
    return [after - before for before, after in pairwise(times)]


class Forgetful(BaseTaskHandler):
    """Fails at the first attempt's second tick."""

    def initial_tick(self) -> None:
        self.data.setdefault("initial", []).append(self.task["attempt"])

    def intermediate_tick(self) -> None:
        if self.task["attempt"] == 1:
            raise ValueError
        self.complete()


class Endless(BaseTaskHandler):
    def tick_task(self) -> None:
        """Leave the task RUNNING."""


class Waiting(BaseTaskHandler):
    def tick_task(self) -> None:
        self.wait_until(None)


class TestAttempts:
    def test_each_attempt_is_on_record(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"bad": bad}, clock=clock)
        flow = flow_with({"max_attempts": 3, "delay": "1m"})
        report = engine.tick_flow(flow)
        assert (report.retried, report.failed, flow.status) == (["a"], [], "RUNNING")
        assert flow.tasks["a"]["status"] == "PENDING"
        with pytest.raises(FlowEngine.FlowError, match="TimeoutError: slow"):
            engine.run_flow(flow)
        a = flow.tasks["a"]
        assert (a["attempt"], a["error"]["type"], a["error"]["message"]) == (3, "TimeoutError", "slow")
        assert [record["attempt"] for record in a["attempts"]] == [1, 2]
        first = a["attempts"][0]
        assert first["started_at"] == first["finished_at"] == "2000-01-01T00:00:00.000000+00:00"
        assert (first["error"]["message"], "types" in first["error"]) == ("slow", False)
        assert a["attempts"][1]["started_at"] == "2000-01-01T00:01:00.000000+00:00"
        assert a["finished_at"] == flow.finished_at == "2000-01-01T00:02:00.000000+00:00"

    def test_a_success_in_the_end_leaves_no_error(self) -> None:
        flow = flow_with({"max_attempts": 2})
        engine = FlowEngine(task_handlers={"bad": Forgetful})
        assert engine.run_flow(flow).status == "COMPLETED"
        a = flow.tasks["a"]
        assert (a["attempt"], "error" in a, len(a["attempts"])) == (2, False, 1)
        assert a["data"]["initial"] == [1, 2]

    def test_a_later_attempt_gives_its_own_reason(self) -> None:
        def say(task: dict[str, Any]) -> None:
            task["status"] = "FAILED"
            task["data"]["error"] = f"attempt {task['attempt']}"

        flow = flow_with({"max_attempts": 2})
        with pytest.raises(FlowEngine.FlowError, match="attempt 2"):
            FlowEngine(task_handlers={"bad": say}).run_flow(flow)
        assert flow.tasks["a"]["attempts"][0]["error"]["message"] == "attempt 1"

    def test_each_attempt_reads_its_parameters_anew(self) -> None:
        seen: list[Any] = []

        def handle(params: dict[str, Any], flow: Flow) -> None:
            seen.append(params["x"])
            flow.data["x"] += 1
            raise ValueError

        flow = Flow.from_flow_spec(
            {
                "data": {"x": 1},
                "tasks": [
                    task(
                        "a", "bad", cfg={"retry": {"max_attempts": 3}}, task_params={"x": "$ctx.flow.data.x"}
                    )
                ],
            }
        )
        with pytest.raises(FlowEngine.FlowError):
            FlowEngine(task_handlers={"bad": handle}).run_flow(flow)
        assert seen == [1, 2, 3]

    def test_each_attempt_has_a_key_of_its_own(self) -> None:
        seen: list[str] = []

        def handle(task_ctx: Any) -> None:
            seen.append(task_ctx["idempotency_key"])
            raise ValueError

        with pytest.raises(FlowEngine.FlowError):
            FlowEngine(task_handlers={"bad": handle}).run_flow(flow_with({"max_attempts": 2}))
        assert seen == ["f/a/1", "f/a/2"]

    def test_a_retry_without_delay_comes_with_the_next_tick(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"bad": bad}, clock=clock)
        flow = flow_with({"max_attempts": 2})
        assert engine.tick_flow(flow).next_tick_at == clock.now()
        assert engine.tick_flow(flow).failed == ["a"]

    def test_a_retry_waits_for_its_time(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"bad": bad}, clock=clock)
        flow = flow_with({"max_attempts": 2, "delay": 60})
        assert engine.tick_flow(flow).next_tick_at == clock.now() + timedelta(seconds=60)
        assert flow.get_nearest_tickable_pending_tasks() == []
        clock.advance(59.9)
        assert engine.tick_flow(flow).calls == 0
        clock.advance(0.1)
        assert engine.tick_flow(flow).failed == ["a"]

    def test_no_limit_means_no_limit(self) -> None:
        flow = flow_with({"max_attempts": None})
        engine = FlowEngine(task_handlers={"bad": bad})
        for _ in range(20):
            assert engine.tick_flow(flow).retried == ["a"]

    @pytest.mark.parametrize(
        ("rule", "attempts"),
        [
            ({"on": ["TimeoutError"]}, 3),
            ({"on": ["OSError"]}, 3),
            ({"on": ["ValueError"]}, 1),
            ({"on": []}, 1),
            ({"not_on": ["TimeoutError"]}, 1),
            ({"not_on": ["OSError"]}, 1),
            ({"not_on": ["ValueError"]}, 3),
            ({"on": ["OSError"], "not_on": ["TimeoutError"]}, 1),
            ({"on": ["builtins.OSError"]}, 3),
            ({"on": ["asyncio.OSError"]}, 1),
            ({"on": ["BaseException"]}, 3),
            ({"not_on": ["builtins.Exception"]}, 1),
        ],
        ids=str,
    )
    def test_only_some_errors_are_tried_again(self, rule: dict[str, Any], attempts: int) -> None:
        flow = flow_with({"max_attempts": 3, **rule})
        with pytest.raises(FlowEngine.FlowError):
            FlowEngine(task_handlers={"bad": bad}).run_flow(flow)
        assert flow.tasks["a"]["attempt"] == attempts

    def test_a_class_is_found_by_its_qualified_name(self) -> None:
        class ColdError(ConnectionError):
            """Two modules may have one of that name."""

        def freeze() -> None:
            raise ColdError

        here = f"{__name__}.{ColdError.__qualname__}"
        for name, attempts in (("ColdError", 2), (here, 2), ("elsewhere.ColdError", 1)):
            flow = flow_with({"max_attempts": 2, "on": [name]})
            with pytest.raises(FlowEngine.FlowError):
                FlowEngine(task_handlers={"bad": freeze}).run_flow(flow)
            assert flow.tasks["a"]["attempt"] == attempts

    def test_a_retry_for_ever_keeps_the_latest_attempts_and_tracebacks(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"bad": bad}, clock=clock)
        flow = flow_with({"max_attempts": None, "delay": 1})
        for _ in range(45):
            engine.tick_flow(flow)
            clock.advance(1)
        assert flow.tasks["a"]["attempt"] == 45
        attempts = flow.tasks["a"]["attempts"]
        assert [record["attempt"] for record in attempts] == list(range(26, 46))
        assert all(record["error"]["message"] == "slow" for record in attempts)
        assert all(record["started_at"] and record["finished_at"] for record in attempts)
        assert ["traceback" in record["error"] for record in attempts] == [False] * 10 + [True] * 10

    def test_a_handler_that_spoils_the_record_of_attempts_fails_its_task_only(self) -> None:
        def spoil(task: dict[str, Any]) -> None:
            task["attempts"] = 5
            raise ValueError(f"attempt {task['attempt']}")

        flow = flow_with({"max_attempts": 2})
        with pytest.raises(FlowEngine.FlowError, match="attempt 2"):
            FlowEngine(task_handlers={"bad": spoil}).run_flow(flow)

    def test_a_failure_that_the_handler_named_is_tried_again_by_its_name(self) -> None:
        def say(task: dict[str, Any]) -> None:
            task.update(status="FAILED", error={"type": "Cold", "message": "brr"})

        flow = flow_with({"max_attempts": 2, "on": ["Cold"]})
        with pytest.raises(FlowEngine.FlowError):
            FlowEngine(task_handlers={"bad": say}).run_flow(flow)
        assert flow.tasks["a"]["attempt"] == 2

    def test_dependents_wait_for_the_last_attempt(self) -> None:
        flow = flow_with({"max_attempts": 2})
        flow.add_task(task("after", precursors=["a"]))
        engine = FlowEngine(task_handlers={"bad": Forgetful})
        engine.tick_flow(flow)
        engine.tick_flow(flow)
        assert flow.tasks["after"]["status"] == "PENDING"
        engine.run_flow(flow)
        assert flow.tasks["after"]["status"] == "COMPLETED"


INNER = {"tasks": [{"key": "x", "task_type": "bad"}]}
CONTAINERS: dict[str, dict[str, Any]] = {
    "inline_flow": {"flow_spec": INNER},
    "flow": {"flow_spec": INNER},
    "loop": {"flow_spec": INNER, "max_iterations": 2, "while": {"all": []}},
    "spread": {
        "items": [1],
        "mapping_params": {"skeleton": {"task_type": "bad"}, "wirings": []},
    },
    "switch": {"control_value": 1, "cases": [], "default_case": {"task": {"task_type": "bad"}}},
}


@pytest.mark.parametrize("name", ["TimeoutError", "OSError", "builtins.TimeoutError"])
@pytest.mark.parametrize("kind", CONTAINERS)
class TestWhatFailedInside:
    def run(self, kind: str, rule: dict[str, Any], *, deep: bool) -> Flow:
        inner: dict[str, Any] = {"key": "a", "task_type": kind, "task_params": CONTAINERS[kind]}
        if deep:
            inner = {"task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [inner]}}}
        flow = Flow.from_flow_spec(
            {"tasks": [{**inner, "key": "a", "cfg": {"retry": {"max_attempts": 2, **rule}}}]}
        )
        with pytest.raises(FlowEngine.FlowError):
            FlowEngine(task_handlers={"bad": bad}).run_flow(flow)
        return flow

    @pytest.mark.parametrize("deep", [False, True])
    def test_counts_for_on_and_not_on_by_its_name(self, kind: str, name: str, deep: bool) -> None:
        assert self.run(kind, {"on": [name]}, deep=deep).tasks["a"]["attempt"] == 2
        assert self.run(kind, {"on": ["KeyError"]}, deep=deep).tasks["a"]["attempt"] == 1
        flow = self.run(kind, {"not_on": [name]}, deep=deep)
        assert flow.tasks["a"]["attempt"] == 1
        assert "types" not in flow.tasks["a"]["error"]


class TestDelays:
    def test_a_constant_delay(self, clock: ManualClock) -> None:
        assert delays(clock, {"max_attempts": 4, "delay": 10}) == [10, 10, 10]

    def test_backoff_multiplies(self, clock: ManualClock) -> None:
        assert delays(clock, {"max_attempts": 5, "delay": "1s", "backoff": 3}) == [1, 3, 9, 27]

    def test_max_delay_limits(self, clock: ManualClock) -> None:
        assert delays(clock, {"max_attempts": 5, "delay": 1, "backoff": 10, "max_delay": 50}) == [
            1,
            10,
            50,
            50,
        ]

    def test_max_delay_limits_jitter_too(self, clock: ManualClock) -> None:
        policy = {"max_attempts": 9, "delay": 50, "jitter": 1, "max_delay": 50}
        assert max(delays(clock, policy)) <= 50

    def test_many_attempts_with_backoff_do_not_overflow(self, clock: ManualClock) -> None:
        found = delays(clock, {"max_attempts": 60, "delay": 1, "backoff": 1e9, "max_delay": "1h"})
        assert found[1:] == [3600] * 58

    def test_jitter_repeats_and_stays_within_its_share(self) -> None:
        policy = {"max_attempts": 8, "delay": 100, "jitter": 0.2}
        first = delays(ManualClock(), policy)
        assert delays(ManualClock(), policy) == first
        assert all(80 <= delay <= 120 for delay in first)
        assert len(set(first)) == len(first)
        assert delays(ManualClock(), policy, key="other") != first


class TestTaskTimeout:
    @pytest.mark.parametrize("handler", [Endless, Waiting])
    def test_a_task_fails_when_its_time_is_up(self, handler: Any, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": handler}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg={"timeout": "1m"})]})
        engine.tick_flow(flow)
        clock.advance(59)
        engine.tick_flow(flow)
        assert flow.status == "RUNNING"
        clock.advance(1)
        report = engine.tick_flow(flow)
        assert (report.failed, flow.tasks["a"]["error"]["type"]) == (["a"], "TimeoutError")
        assert "cfg.timeout (1m)" in flow.tasks["a"]["error"]["message"]

    def test_the_handler_is_told_to_stop(self, clock: ManualClock) -> None:
        cancelled: list[str] = []

        class Slow(Waiting):
            def cancel(self) -> None:
                cancelled.append(self.task["key"])

        engine = FlowEngine(task_handlers={"slow": Slow}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg={"timeout": 1})]})
        engine.tick_flow(flow)
        clock.advance(1)
        engine.tick_flow(flow)
        assert cancelled == ["a"]

    def test_a_waiting_task_makes_the_flow_due_when_its_time_is_up(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": Waiting}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg={"timeout": 60})]})
        assert engine.tick_flow(flow).next_tick_at == clock.now() + timedelta(seconds=60)

    def test_each_attempt_has_its_own_time(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": Waiting}, clock=clock)
        cfg = {"timeout": 60, "retry": {"max_attempts": 2, "on": ["TimeoutError"]}}
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg=cfg)]})
        with pytest.raises(FlowEngine.FlowError):
            engine.run_flow(flow)
        assert clock.now() == ManualClock().now() + timedelta(seconds=120)

    @pytest.mark.parametrize(("seconds", "status"), [(60, "COMPLETED"), (60.001, "FAILED")])
    def test_a_call_that_ends_too_late_has_failed(
        self, clock: ManualClock, seconds: float, status: str
    ) -> None:
        engine = FlowEngine(
            task_handlers={"slow": lambda: {"to": clock.advance(seconds).isoformat()}}, clock=clock
        )
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg={"timeout": 60})]})
        engine.tick_flow(flow)
        assert flow.tasks["a"]["status"] == status
        assert "to" in flow.tasks["a"]["data"]

    def test_what_a_late_attempt_left_is_kept_and_it_is_tried_again(self, clock: ManualClock) -> None:
        seconds = iter([8, 1])
        calls = {"slow": lambda task: {"n": task["attempt"], "at": clock.advance(next(seconds)).second}}
        engine = FlowEngine(task_handlers=calls, clock=clock)
        cfg = {"timeout": "2s", "retry": {"max_attempts": 2, "delay": "4s"}}
        flow = engine.run_flow(Flow.from_flow_spec({"tasks": [task("a", "slow", cfg=cfg)]}))
        (first,) = flow.tasks["a"]["attempts"]
        assert (first["error"]["type"], first["error"]["output"]) == ("TimeoutError", '{"n":1,"at":8}')
        assert flow.tasks["a"]["data"] == {"n": 2, "at": 13}

    def test_an_error_of_its_own_stays(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": lambda: clock.advance(8) and 1 / 0}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg={"timeout": 2})]})
        engine.tick_flow(flow)
        assert flow.tasks["a"]["error"]["type"] == "ZeroDivisionError"

    def test_one_that_goes_on_is_stopped(self, clock: ManualClock) -> None:
        class Slow(Waiting):
            stopped = 0

            def tick_task(self) -> None:
                clock.advance(8)
                super().tick_task()

            def cancel(self) -> None:
                Slow.stopped += 1

        engine = FlowEngine(task_handlers={"slow": Slow}, clock=clock)
        flow = Flow.from_flow_spec({"tasks": [task("a", "slow", cfg={"timeout": 2})]})
        engine.tick_flow(flow)
        assert (flow.tasks["a"]["status"], Slow.stopped) == ("FAILED", 1)
        assert flow.tasks["a"]["error"]["type"] == "TimeoutError"

    def test_it_holds_for_a_task_inside_a_switch(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": lambda: {"at": clock.advance(8).second}}, clock=clock)
        inner = {"task": {"task_type": "slow", "cfg": {"timeout": 2}}}
        params = {"control_value": 1, "cases": [], "default_case": inner}
        flow = Flow.from_flow_spec({"tasks": [task("s", "switch", task_params=params)]})
        engine.tick_flow(flow)
        error = flow.tasks["s"]["error"]
        assert (error["type"], error["output"]) == ("TimeoutError", '{"at":8}')


class TestFlowTimeout:
    def test_a_flow_fails_when_its_time_is_up(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": Waiting}, clock=clock)
        flow = Flow.from_flow_spec({"cfg": {"timeout": "PT1M"}, "tasks": [task("a", "slow"), task("b")]})
        assert engine.tick_flow(flow).next_tick_at == clock.now() + timedelta(seconds=60)
        clock.advance(60)
        report = engine.tick_flow(flow)
        assert (flow.status, report.cancelled) == ("FAILED", ["a"])
        assert flow.error is not None
        assert flow.error["message"] == "The flow ran for longer than its cfg.timeout (PT1M)."

    def test_the_time_begins_with_the_first_tick(self, clock: ManualClock) -> None:
        flow = Flow.from_flow_spec({"cfg": {"timeout": 60}, "tasks": [task("a")]})
        clock.advance(1_000)
        FlowEngine(clock=clock).tick_flow(flow)
        assert flow.status == "COMPLETED"

    def test_the_deadline_survives_a_round_trip(self, clock: ManualClock) -> None:
        engine = FlowEngine(task_handlers={"slow": Waiting}, clock=clock)
        flow = Flow.from_flow_spec({"cfg": {"timeout": 60}, "tasks": [task("a", "slow")]})
        engine.tick_flow(flow)
        flow = Flow.from_flow_dict(flow.to_flow_dict())
        clock.advance(60)
        engine.tick_flow(flow)
        assert flow.status == "FAILED"
