"""Controls on each kind of store: what a person asks of a flow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import ControlError, FlowExistsError, FlowNotFoundError, SpecError
from mc.houston import Houston
from mc.store.event import EventKind
from mc.store.lease import Lease
from tests.support.databases import DATABASES


class Workshop:
    """Task types whose tasks fail as often as they are told, and note each call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures: dict[str, int] = {}
        self.stopped: list[str] = []

    def handlers(self) -> dict[str, Any]:
        workshop = self

        class Guarded:
            has_effects = True
            uninterpolated_params: frozenset[str] = frozenset()

            def tick_task(self, task: dict[str, Any], task_ctx: Any) -> None:
                workshop.calls.append(task["key"])
                task["status"], task["next_tick_at"] = "WAITING", "2099-01-01T00:00:00Z"

            def cancel(self, task: dict[str, Any], task_ctx: Any) -> None:
                workshop.stopped.append(task["key"])

        return {"work": self.work, "slow": self.slow, "guarded": Guarded()}

    async def slow(self, task: dict[str, Any], task_ctx: Any) -> None:
        await asyncio.sleep(0)
        self.work(task, task_ctx)

    def work(self, task: dict[str, Any], task_ctx: Any) -> None:
        key = task["key"]
        self.calls.append(key)
        if self.failures.get(key):
            self.failures[key] -= 1
            raise ValueError(f"{key} broke")
        task["data"]["done"] = key
        task["status"] = "COMPLETED"


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def task_handlers(workshop: Workshop) -> dict[str, Any]:
    return workshop.handlers()


def work(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "work", **more}


def submit(houston: Houston, *tasks: dict[str, Any], key: str = "f", **spec: Any) -> str:
    return houston.submit({"tasks": list(tasks), **spec}, key=key)


def statuses(houston: Houston, key: str = "f") -> dict[str, str]:
    return {task["key"]: task["status"] for task in houston.load(key).filter_tasks()}


def asked(houston: Houston, key: str = "f") -> list[dict[str, Any]]:
    return [event.detail or {} for event in houston.history(key) if event.kind is EventKind.CONTROL]


def rest(houston: Houston) -> None:
    """Tick until nothing is done any more."""
    while houston.tick().tasks:
        pass


class TestCancel:
    def test_it_ends_the_flow_stops_what_runs_and_says_who_and_why(
        self, houston: Houston, workshop: Workshop, clock: ManualClock
    ) -> None:
        submit(houston, {"key": "g", "task_type": "guarded"}, work("after"))
        houston.tick()
        report = houston.cancel("f", by="ann", reason="no money left")
        assert (report.status, report.done) == ("CANCELLED", True)
        assert workshop.stopped == ["g"]
        assert statuses(houston) == {"g": "CANCELLED", "after": "PENDING"}
        flow = houston.load("f")
        assert flow.error == {"type": "Cancelled", "message": "by ann: no money left"}
        assert asked(houston) == [{"control": "cancel", "by": "ann", "reason": "no money left"}]
        assert houston.tick().claimed == 0

    @pytest.mark.parametrize("container", ["inline_flow", "flow"])
    def test_sub_flows_end_with_it_at_any_depth(
        self, houston: Houston, workshop: Workshop, container: str
    ) -> None:
        inner: dict[str, Any] = {"tasks": [{"key": "g", "task_type": "guarded"}]}
        for depth in range(3):
            inner = {
                "tasks": [{"key": f"d{depth}", "task_type": container, "task_params": {"flow_spec": inner}}]
            }
        houston.submit(inner, key="f")
        rest(houston)
        houston.cancel("f", by="ann")
        rest(houston)
        assert workshop.stopped == ["g"]
        assert {summary.status for summary in houston.list()} == {"CANCELLED"}

    def test_a_finished_flow_is_left_as_it_is(self, houston: Houston) -> None:
        submit(houston, work("a"))
        houston.tick()
        with pytest.raises(ControlError, match="is COMPLETED already"):
            houston.cancel("f", by="ann")
        assert asked(houston) == []

    # a store in memory belongs to one object
    @pytest.mark.parametrize("store_name", [*DATABASES, "sqlite in parts"], indirect=True)
    def test_without_the_handler_it_is_left_to_a_runner_that_has_it(
        self, houston: Houston, workshop: Workshop, store_url: str, clock: ManualClock
    ) -> None:
        submit(houston, {"key": "g", "task_type": "guarded"})
        houston.tick()
        with Houston(store_url, clock=clock) as stranger:
            report = stranger.cancel("f", by="ann")
        assert (report.status, report.done) == ("RUNNING", False)
        assert "'guarded'" in str(report.why_not)
        houston.tick()
        assert (houston.summary("f").status, workshop.stopped) == ("CANCELLED", ["g"])

    def test_a_flow_that_nobody_knows_is_named(self, houston: Houston) -> None:
        with pytest.raises(FlowNotFoundError, match="'nothing'"):
            houston.cancel("nothing", by="ann")

    @pytest.mark.parametrize("nobody", ["", "  ", 5])
    def test_nobody_can_ask_for_nothing(self, houston: Houston, nobody: Any) -> None:
        submit(houston, work("a"))
        with pytest.raises(ControlError, match="expected a name"):
            houston.cancel("f", by=nobody)
        with pytest.raises(ControlError, match="expected a name"):
            houston.rerun("f", by=nobody)
        with pytest.raises(ControlError, match="expected a name"):
            houston.migrate("f", {"tasks": []}, by=nobody)
        assert len(houston.list()) == 1


class TestPauseAndResume:
    def test_a_paused_flow_is_not_ticked_until_it_is_resumed(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        submit(houston, work("a"), work("b"))
        assert houston.pause("f", by="ann", reason="lunch").status == "PAUSED"
        assert (houston.tick().claimed, workshop.calls) == (0, [])
        assert houston.resume("f", by="bob").status == "PENDING"
        houston.tick()
        assert houston.summary("f").status == "COMPLETED"
        assert [(each["control"], each["by"], each["reason"]) for each in asked(houston)] == [
            ("pause", "ann", "lunch"),
            ("resume", "bob", None),
        ]

    def test_stored_sub_flows_rest_and_go_on_with_it(
        self, houston: Houston, workshop: Workshop, clock: ManualClock
    ) -> None:
        nap = {"key": "nap", "task_type": "wait", "task_params": {"duration": 60}}
        inner = {"key": "sub", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [nap, work("x")]}}}
        submit(houston, inner, work("after"))
        rest(houston)
        houston.pause("f", by="ann")
        assert {summary.status for summary in houston.list()} == {"PAUSED"}
        clock.advance(3600)
        assert houston.tick().claimed == 0
        houston.resume("f", by="ann")
        rest(houston)
        assert {summary.status for summary in houston.list()} == {"COMPLETED"}
        assert workshop.calls == ["x", "after"]

    def test_a_signal_that_came_meanwhile_is_taken_afterwards(self, houston: Houston) -> None:
        submit(houston, {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}})
        houston.tick()
        houston.pause("f", by="ann")
        houston.signal("f", "go", 1)
        assert houston.tick().claimed == 0
        houston.resume("f", by="ann")
        houston.tick()
        assert houston.summary("f").status == "COMPLETED"

    def test_a_timeout_goes_on_meanwhile(self, houston: Houston, clock: ManualClock) -> None:
        slow = {"key": "g", "task_type": "guarded", "cfg": {"timeout": 60}}
        submit(houston, slow)
        houston.tick()
        houston.pause("f", by="ann")
        clock.advance(61)
        houston.resume("f", by="ann")
        houston.tick()
        assert houston.summary("f").status == "FAILED"

    def test_what_does_not_fit_is_refused(self, houston: Houston) -> None:
        submit(houston, work("a"))
        with pytest.raises(ControlError, match="is PENDING; only a PAUSED or BLOCKED flow can be resumed"):
            houston.resume("f", by="ann")
        houston.pause("f", by="ann")
        with pytest.raises(ControlError, match="is PAUSED already"):
            houston.pause("f", by="ann")

    def test_a_blocked_flow_goes_on(self, houston: Houston, workshop: Workshop) -> None:
        submit(houston, work("a"))
        (lease,) = houston.store.claim(owner="d")
        houston.store.block(lease, "it looked odd")
        assert houston.resume("f", by="ann").status == "PENDING"
        assert houston.load("f").blocked_reason is None
        houston.tick()
        assert workshop.calls == ["a"]


class TestRetry:
    def test_only_what_failed_is_called_again(self, houston: Houston, workshop: Workshop) -> None:
        workshop.failures["b"] = 1
        submit(houston, work("a"), work("b"), work("c"))
        houston.tick()
        assert statuses(houston) == {"a": "COMPLETED", "b": "FAILED", "c": "PENDING"}
        assert houston.retry("f", by="ann").status == "RUNNING"
        houston.tick()
        assert workshop.calls == ["a", "b", "b", "c"]
        attempts = [
            (each.task_key, each.attempt, each.status) for each in houston.store.history.attempts("f")
        ]
        assert [each for each in attempts if each[0] == "b"] == [("b", 1, "FAILED"), ("b", 2, "COMPLETED")]

    @pytest.mark.parametrize("container", ["inline_flow", "flow", "spread", "loop", "switch"])
    def test_it_goes_on_inside_of_tasks(self, houston: Houston, workshop: Workshop, container: str) -> None:
        inner = {"tasks": [work("x"), work("y"), work("z")]}
        params: dict[str, Any] = {"flow_spec": inner}
        if container == "spread":
            params = {"items": ["x", "y", "z"], "mapping_params": {"skeleton": inline(inner)}}
        elif container == "loop":
            params |= {"max_iterations": 2}
        elif container == "switch":
            params = {"control_value": 1, "default_case": {"task": inline(inner)}}
        workshop.failures["y"] = 1
        submit(houston, {"key": "sub", "task_type": container, "task_params": params}, work("after"))
        rest(houston)
        assert houston.summary("f").status == "FAILED"
        before = list(workshop.calls)
        houston.retry("f", by="ann")
        rest(houston)
        assert houston.summary("f").status == "COMPLETED", houston.load("f").describe_failure()
        rounds = {"spread": 3, "loop": 2}.get(container, 1)
        assert {key: workshop.calls.count(key) for key in "xyz"} == {
            "x": rounds,
            "y": rounds + 1,
            "z": rounds,
        }, (before, workshop.calls)

    @pytest.mark.parametrize("inside", ["", "switch"])
    def test_a_loop_that_was_cancelled_between_two_rounds_goes_on_with_the_next(
        self, houston: Houston, workshop: Workshop, clock: ManualClock, inside: str
    ) -> None:
        params = {"flow_spec": {"tasks": [work("x")]}, "max_iterations": 3, "delay": "1h"}
        loop: dict[str, Any] = {"key": "sub", "task_type": "loop", "task_params": params}
        if inside:
            params = {"control_value": 1, "default_case": {"task": loop}}
            loop = {"key": "sub", "task_type": "switch", "task_params": params}
        submit(houston, loop)
        rest(houston)
        clock.advance("1h")
        rest(houston)
        houston.cancel("f", by="ann")
        houston.retry("f", by="ann")
        rest(houston)
        assert houston.summary("f").status == "COMPLETED"
        assert workshop.calls == ["x"] * 3

    @pytest.mark.parametrize(("name", "op", "rounds"), [("while", "lt", 1), ("until", "ge", 2)])
    def test_a_loop_whose_condition_failed_asks_it_again_and_repeats_no_round(
        self, houston: Houston, workshop: Workshop, clock: ManualClock, name: str, op: str, rounds: int
    ) -> None:
        condition = {"value": "$ctx.flow.data.done", "op": op, "arg": 2}
        params = {"flow_spec": {"tasks": [work("x")]}, "max_iterations": 5, "delay": "1h", name: condition}
        submit(houston, {"key": "sub", "task_type": "loop", "task_params": params}, data={"done": 0})
        rest(houston)
        houston.set("f", by="ann", data={"done": "many"})
        clock.advance("1h")
        rest(houston)
        assert houston.summary("f").status == "FAILED"
        assert workshop.calls == ["x"] * rounds
        houston.set("f", by="ann", data={"done": 2})
        houston.retry("f", by="ann")
        rest(houston)
        assert houston.summary("f").status == "COMPLETED"
        assert workshop.calls == ["x"] * rounds
        assert houston.load("f").tasks["sub"]["data"]["iterations"] == rounds

    def test_what_was_cancelled_with_a_sub_flow_goes_on_too(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        inner = {"tasks": [work("x"), {"key": "g", "task_type": "guarded"}]}
        workshop.failures["b"] = 1
        submit(
            houston,
            {"key": "sub", "task_type": "inline_flow", "task_params": {"flow_spec": inner}},
            work("first", precursors=[]),
            work("b", precursors=["first"]),
        )
        rest(houston)
        assert statuses(houston)["sub"] == "CANCELLED"
        houston.retry("f", by="ann")
        rest(houston)
        assert workshop.calls.count("x") == 1
        assert workshop.calls.count("g") == 2

    def test_what_was_skipped_for_the_failure_starts_too(self, houston: Houston, workshop: Workshop) -> None:
        workshop.failures["a"] = 1
        submit(houston, work("a"), work("b"), work("c"), cfg={"fail_fast": False})
        rest(houston)
        assert statuses(houston) == {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"}
        houston.retry("f", by="ann")
        rest(houston)
        assert (houston.summary("f").status, workshop.calls) == ("COMPLETED", ["a", "a", "b", "c"])

    def test_a_join_of_tasks_that_are_retried_one_after_the_other_waits_for_all_of_them(
        self, houston: Houston, workshop: Workshop, clock: ManualClock
    ) -> None:
        workshop.failures |= {"a": 1, "b": 1}
        nap = {"key": "nap", "task_type": "wait", "task_params": {"duration": 60}, "precursors": []}
        join = work("join", precursors=["a", "b", "nap"])
        submit(
            houston, work("a", precursors=[]), work("b", precursors=[]), nap, join, cfg={"fail_fast": False}
        )
        houston.tick()
        assert statuses(houston)["join"] == "SKIPPED"
        houston.retry("f", ["a"], by="ann")
        houston.retry("f", ["b"], by="ann")
        houston.tick()
        assert statuses(houston) == {"a": "COMPLETED", "b": "COMPLETED", "nap": "WAITING", "join": "PENDING"}
        clock.advance(61)
        houston.tick()
        assert houston.summary("f").status == "COMPLETED"

    def test_its_own_policy_counts_anew(
        self, houston: Houston, workshop: Workshop, clock: ManualClock
    ) -> None:
        workshop.failures["a"] = 3
        submit(houston, work("a", cfg={"retry": {"max_attempts": 2}}))
        rest(houston)
        assert (houston.summary("f").status, len(workshop.calls)) == ("FAILED", 2)
        houston.retry("f", by="ann")
        rest(houston)
        assert (houston.summary("f").status, len(workshop.calls)) == ("COMPLETED", 4)

    def test_a_flow_over_time_gets_its_time_anew(self, houston: Houston, clock: ManualClock) -> None:
        nap = {"key": "nap", "task_type": "wait", "task_params": {"duration": 60}}
        submit(houston, nap, work("a"), cfg={"timeout": 50})
        houston.tick()
        clock.advance(51)
        houston.tick()
        assert houston.summary("f").status == "FAILED"
        houston.retry("f", by="ann")
        houston.tick()
        assert houston.load("f").deadline_at > clock.now().isoformat()

    def test_one_task_of_several_that_failed(self, houston: Houston, workshop: Workshop) -> None:
        workshop.failures |= {"a": 1, "b": 1}
        tasks = [{"key": key, "task_type": "slow", "precursors": []} for key in ("a", "b")]
        submit(houston, *tasks)
        asyncio.run(houston.runner.atick())
        with pytest.raises(ControlError, match="because b failed too"):
            houston.retry("f", ["a"], by="ann")
        assert statuses(houston) == {"a": "FAILED", "b": "FAILED"}
        refused = [event for event in houston.history("f") if event.kind is EventKind.CONTROL_REFUSED]
        assert [event.detail["why"] for event in refused] == [refused[0].detail["why"]]
        houston.skip("f", ["b"], by="ann")
        houston.retry("f", ["a"], by="ann")
        asyncio.run(houston.runner.atick())
        assert statuses(houston) == {"a": "COMPLETED", "b": "SKIPPED"}
        assert houston.summary("f").status == "COMPLETED"

    def test_what_does_not_fit_is_refused(self, houston: Houston) -> None:
        submit(houston, work("a"))
        with pytest.raises(ControlError, match="no task of it failed"):
            houston.retry("f", by="ann")
        with pytest.raises(ControlError, match="has no task 'nothing'"):
            houston.retry("f", ["nothing"], by="ann")
        houston.tick()
        with pytest.raises(ControlError, match="is COMPLETED; there is nothing to retry"):
            houston.retry("f", by="ann")


def inline(flow_spec: dict[str, Any]) -> dict[str, Any]:
    return {"task_type": "inline_flow", "task_params": {"flow_spec": flow_spec}}


class TestSkip:
    def test_it_stops_the_task_and_lets_those_go_on_that_allow_it(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        submit(
            houston,
            {"key": "g", "task_type": "guarded"},
            work("strict"),
            work("lenient", precursors=["g"], cfg={"start_when": "none_failed"}),
        )
        houston.tick()
        houston.skip("f", ["g"], by="ann", reason="broken machine")
        assert workshop.stopped == ["g"]
        houston.tick()
        assert statuses(houston) == {"g": "SKIPPED", "strict": "SKIPPED", "lenient": "COMPLETED"}
        assert houston.load("f").tasks["g"]["skipped_by"] == {"by": "ann", "reason": "broken machine"}

    def test_a_task_that_a_person_skipped_stays_so_when_the_flow_is_retried(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        workshop.failures["a"] = 1
        submit(houston, work("a"), work("b"))
        houston.tick()
        houston.skip("f", ["b"], by="ann")
        houston.retry("f", by="ann")
        houston.tick()
        assert (houston.summary("f").status, statuses(houston)["b"]) == ("COMPLETED", "SKIPPED")

    @pytest.mark.parametrize("key", ["a", "nothing", "ROOT"])
    def test_what_does_not_fit_is_refused(self, houston: Houston, key: str) -> None:
        submit(houston, work("a"), {"key": "g", "task_type": "guarded"})
        houston.tick()
        with pytest.raises(ControlError, match=f"task '{key}'"):
            houston.skip("f", [key], by="ann")
        assert statuses(houston) == {"a": "COMPLETED", "g": "WAITING"}


class TestSet:
    def test_params_count_from_the_next_attempt_on(self, houston: Houston, workshop: Workshop) -> None:
        move = {
            "key": "m",
            "task_type": "wire",
            "task_params": {"wirings": [{"source": "ctx.flow.data.nothing", "dest": "ctx.flow.data.found"}]},
        }
        submit(houston, move, data={"something": 7})
        houston.tick()
        assert houston.summary("f").status == "FAILED"
        wirings = [{"source": "ctx.flow.data.something", "dest": "ctx.flow.data.found"}]
        houston.set("f", "m", by="ann", params={"wirings": wirings})
        houston.retry("f", by="ann")
        houston.tick()
        assert houston.load("f").data["found"] == 7

    def test_data_of_a_task_and_of_the_flow_are_laid_over(self, houston: Houston) -> None:
        submit(houston, work("a", data={"x": 1, "y": 1}), data={"u": 1, "v": 1})
        houston.set("f", "a", by="ann", data={"y": 2})
        houston.set("f", by="ann", data={"v": {"deep": [2]}})
        flow = houston.load("f")
        assert (flow.tasks["a"]["data"], flow.data) == ({"x": 1, "y": 2}, {"u": 1, "v": {"deep": [2]}})
        assert asked(houston)[1] == {
            "control": "set",
            "by": "ann",
            "reason": None,
            "data": {"v": {"deep": [2]}},
        }

    def test_params_that_do_not_fit_the_type_are_refused(self, houston: Houston) -> None:
        submit(houston, {"key": "p", "task_type": "print", "task_params": {"msg": "x"}})
        with pytest.raises(SpecError, match="/task_params/mesg"):
            houston.set("f", "p", by="ann", params={"mesg": "y"})
        assert asked(houston) == []

    def test_params_of_a_task_with_own_types_inside_can_be_set(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        params = {"items": [1], "mapping_params": {"skeleton": {"task_type": "work"}}}
        submit(houston, {"key": "sub", "task_type": "spread", "task_params": params})
        houston.set("f", "sub", by="ann", params={"items": [1, 2]})
        rest(houston)
        assert workshop.calls == ["item_0", "item_1"]

    def test_data_that_do_not_keep_to_the_flows_params_are_refused(self, houston: Houston) -> None:
        params = {"properties": {"n": {"type": "integer"}}}
        submit(houston, work("a"), params=params, data={"n": 1})
        with pytest.raises(SpecError, match="/data/n"):
            houston.set("f", by="ann", data={"n": "one"})

    def test_what_is_no_mapping_of_entries_is_refused(self, houston: Houston) -> None:
        submit(houston, work("a"))
        wrong: Any = ["x"]
        with pytest.raises(ControlError, match="data to set are"):
            houston.set("f", by="ann", data=wrong)
        with pytest.raises(ControlError, match="params to set are"):
            houston.set("f", "a", by="ann", params=wrong)
        with pytest.raises(ControlError, match="no task 5"):
            houston.skip("f", [5], by="ann")  # type: ignore[list-item]

    def test_what_is_done_stays_as_it_was(self, houston: Houston) -> None:
        submit(houston, work("a"), {"key": "g", "task_type": "guarded"})
        houston.tick()
        with pytest.raises(ControlError, match="it is COMPLETED"):
            houston.set("f", "a", by="ann", data={"done": "not"})
        with pytest.raises(ControlError, match="which is WAITING with those it has"):
            houston.set("f", "g", by="ann", params={"n": 1})
        with pytest.raises(ControlError, match="neither data nor params"):
            houston.set("f", "g", by="ann")


class TestRerun:
    def test_a_new_flow_begins_with_the_data_that_the_old_one_began_with(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        houston.submit({"tasks": [work("a")], "data": {"n": 1, "m": 1}}, {"n": 2}, key="f", label="night")
        houston.tick()
        new = houston.rerun("f", {"m": 3}, by="ann", reason="once more", new_key="g")
        houston.tick()
        flow = houston.load("g")
        assert (new, flow.status, flow.data, flow.label) == ("g", "COMPLETED", {"n": 2, "m": 3}, "night")
        assert workshop.calls == ["a", "a"]
        told = {"control": "rerun", "by": "ann", "reason": "once more"}
        assert asked(houston, "f") == [{**told, "new_flow": "g"}]
        assert asked(houston, "g") == [{**told, "of_flow": "f"}]

    def test_a_key_that_is_taken_is_refused(self, houston: Houston) -> None:
        submit(houston, work("a"))
        with pytest.raises(FlowExistsError):
            houston.rerun("f", by="ann", new_key="f")
        assert asked(houston) == []


class TestWhileARunnerHoldsTheFlow:
    def test_it_is_noted_and_done_by_whoever_claims_the_flow_next(
        self, houston: Houston, clock: ManualClock
    ) -> None:
        submit(houston, work("a"), work("b"))
        (lease,) = houston.store.claim(owner="runner")
        report = houston.pause("f", by="ann")
        assert (report.status, report.done) == ("PENDING", False)
        assert "a runner holds the flow" in str(report.why_not)
        houston.resume("f", by="ann")
        houston.cancel("f", by="bob")
        houston.store.release(lease)
        houston.tick()
        assert houston.summary("f").status == "CANCELLED"
        assert [each["control"] for each in asked(houston)] == ["pause", "resume", "cancel"]

    def test_what_cannot_be_done_any_more_is_refused_in_the_history(self, houston: Houston) -> None:
        submit(houston, work("a"))
        (lease,) = houston.store.claim(owner="runner")
        flow = houston.store.load_claimed([lease])["f"]
        houston.pause("f", by="ann", reason="wait")
        houston.engine.run_flow(flow)
        houston.store.save(flow, lease=lease, release=True)
        assert houston.summary("f").next_tick_at is not None
        houston.tick()
        assert houston.summary("f").status == "COMPLETED"
        (refused,) = [event for event in houston.history("f") if event.kind is EventKind.CONTROL_REFUSED]
        assert refused.detail["why"] == "Flow 'f' is COMPLETED; only an unfinished flow can be paused."
        assert houston.summary("f").next_tick_at is None

    def test_the_heartbeat_makes_the_runner_let_go_after_the_task_under_way(
        self, houston: Houston, workshop: Workshop
    ) -> None:
        def long(task: dict[str, Any], task_ctx: Any) -> None:
            workshop.calls.append(task["key"])
            if task["key"] == "a":
                houston.store.messages.control("f", pause)
                assert heartbeat_went_on.wait(60)
            task["status"] = "COMPLETED"

        import threading

        from mc.flows.controls.control import make_control
        from mc.flows.flow_engine import FlowEngine
        from mc.runners.flow_runner import FlowRunner

        pause = make_control("pause", by="ann", at=houston.store.clock.now().isoformat())
        heartbeat_went_on = threading.Event()  # to the beat after the one that saw what was asked for
        messages = houston.store.messages
        is_controlled, renew = messages.is_controlled, houston.store.renew
        seen: list[str] = []

        def watched_look(key: str) -> bool:
            found = is_controlled(key)
            seen.extend([key] * found)
            return found

        def watched_renewal(lease: Lease, note: Any = None) -> Any:
            if seen:
                heartbeat_went_on.set()
            return renew(lease, note)

        messages.is_controlled = watched_look  # type: ignore[method-assign]
        houston.store.renew = watched_renewal  # type: ignore[method-assign]
        engine = FlowEngine(task_handlers={"long": long}, clock=houston.store.clock)
        houston.store.create(
            engine.flow_spec_to_flow({"tasks": [{"key": key, "task_type": "long"} for key in "abc"]}, key="f")
        )
        FlowRunner(houston.store, engine, lease_seconds=60, heartbeat_seconds=0.05).tick()
        houston.tick()  # so short a heartbeat may give the flow back before it is taken up again
        assert (workshop.calls, houston.summary("f").status) == (["a"], "PAUSED")


def test_pause_before_a_due_time_and_resume_after_it(houston: Houston, clock: ManualClock) -> None:
    submit(houston, {"key": "nap", "task_type": "wait", "task_params": {"duration": 60}})
    houston.tick()
    houston.pause("f", by="ann")
    clock.advance(timedelta(hours=1).total_seconds())
    houston.resume("f", by="ann")
    assert houston.tick().completed == 1
