from __future__ import annotations

import time
from typing import Any, ClassVar

import pytest

from mc.errors import SpecError
from mc.simulation.script import load_script_schema, read_script
from mc.simulation.simulation import Simulation, simulate_flow


def simulate(*tasks: dict[str, Any], results: dict[str, Any] | None = None, **options: Any) -> Simulation:
    spec = {"tasks": list(tasks), **options.pop("spec", {})}
    return simulate_flow(spec, read_script(results or {}, spec), **options)


def timeline(simulation: Simulation) -> list[tuple[float, str | None, str]]:
    """Return when which task got which status; what only says that it runs is left out."""
    return [
        (simulation.seconds_at(entry.at), entry.task, entry.event)
        for entry in simulation.timeline
        if entry.event != "RUNNING" and not (entry.task is None and entry.old_status)
    ]


CALL = {"task_type": "call", "task_params": {"function": "no_such_module:f"}}
CUSTOM = {"task_type": "no_such_package.tasks.thing"}


class TestStandIns:
    @pytest.mark.parametrize("task", [CALL, CUSTOM, {"task_type": "whatever"}])
    def test_nothing_of_the_users_code_is_needed(self, task: dict[str, Any]) -> None:
        simulation = simulate({"key": "a", **task, "data": {"x": 1}})
        assert simulation.flow.status == "COMPLETED"
        assert simulation.flow.tasks["a"]["data"] == {"x": 1}
        assert sum(simulation.stood_in.values()) == 1

    def test_nothing_is_printed_or_logged(
        self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        simulation = simulate(
            {"task_type": "print", "task_params": {"msg": "x"}},
            {"task_type": "log", "task_params": {"msg": "x", "level": "ERROR"}},
        )
        assert (simulation.flow.status, capsys.readouterr().out, caplog.records) == ("COMPLETED", "", [])

    def test_the_built_in_types_that_act_on_the_flow_alone_are_real(self) -> None:
        wirings = ["ctx.flow.tasks.s.data.results => ctx.flow.data.found"]
        mapping = {"skeleton": {"task_type": "noop"}, "wirings": ["ctx.item.value => ctx.skeleton.data.n"]}
        simulation = simulate(
            {"key": "s", "task_type": "spread", "task_params": {"items": [4, 5], "mapping_params": mapping}},
            {"task_type": "wire", "task_params": {"wirings": wirings}},
        )
        assert simulation.flow.data["found"] == [{"n": 4}, {"n": 5}]

    def test_a_spec_that_is_wrong_is_refused(self) -> None:
        with pytest.raises(SpecError):
            simulate({"key": "a", "task_type": "wait", "task_params": {"durration": 1}})

    def test_a_request_is_not_sent_and_needs_no_leave(self) -> None:
        params = {"url": "https://example.org"}
        assert simulate({"task_type": "http", "task_params": params}).flow.status == "COMPLETED"


class TestTime:
    def test_a_month_passes_at_once(self) -> None:
        began = time.monotonic()
        simulation = simulate({"key": "w", "task_type": "wait", "task_params": {"duration": "30d"}})
        assert timeline(simulation) == [(0, "w", "WAITING"), (30 * 86_400, "w", "COMPLETED")]
        assert time.monotonic() - began < 10

    def test_a_scripted_result_takes_its_time_beside_others(self) -> None:
        simulation = simulate(
            {"key": "a", **CALL},
            {"key": "b", **CALL, "precursors": []},
            results={"tasks": {"a": {"duration": "2m"}, "b": {"duration": 30}}},
        )
        done = [entry for entry in timeline(simulation) if entry[2] == "COMPLETED"]
        assert done == [(30, "b", "COMPLETED"), (120, "a", "COMPLETED")]

    def test_a_scripted_result_that_takes_too_long_times_out(self) -> None:
        simulation = simulate(
            {"key": "a", **CALL, "cfg": {"timeout": "1m"}}, results={"tasks": {"a": {"duration": "2m"}}}
        )
        assert timeline(simulation)[-1] == (60, "a", "FAILED")
        assert simulation.flow.tasks["a"]["error"]["type"] == "TimeoutError"

    def test_it_ends_where_the_time_is_up(self) -> None:
        simulation = simulate(
            {"key": "w", "task_type": "wait", "task_params": {"duration": "2d"}}, max_seconds=86_400
        )
        assert (simulation.ending, simulation.to_dict()["seconds"]) == ("time", 86_400)
        assert [(wait.task, wait.waits_for) for wait in simulation.waits] == [("w", "time")]

    def test_what_is_due_when_the_time_is_up_still_happens(self) -> None:
        wait = {"key": "w", "task_type": "wait", "task_params": {"duration": 60}}
        assert simulate(wait, max_seconds=60).flow.status == "COMPLETED"

    def test_the_clock_starts_where_the_scripted_results_say(self) -> None:
        wait = {"key": "w", "task_type": "wait", "task_params": {"until": "2030-01-02T00:00:00Z"}}
        simulation = simulate(wait, results={"start": "2030-01-01T00:00:00Z"})
        assert simulation.to_dict()["seconds"] == 86_400

    def test_the_same_simulation_repeats_with_its_jitter(self) -> None:
        task = {"key": "a", **CALL, "cfg": {"retry": {"max_attempts": 4, "delay": 100, "jitter": 0.5}}}
        results = {"tasks": {"a": {"fail": "no"}}}
        first, second = simulate(task, results=results), simulate(task, results=results)
        assert first.to_dict() == second.to_dict()
        assert first.ended_at > first.started_at


class TestFailures:
    RETRY: ClassVar[dict[str, Any]] = {
        "retry": {"max_attempts": 5, "delay": "1m", "backoff": 2, "on": ["ConnectionError"]}
    }

    def test_attempts_fail_as_scripted_and_the_policy_is_the_real_one(self) -> None:
        reset = {"fail": {"type": "ConnectionResetError", "message": "reset"}}
        simulation = simulate(
            {"key": "a", **CALL, "cfg": self.RETRY},
            results={"tasks": {"a": {"attempts": [reset, reset, {"data": {"result": 7}}]}}},
        )
        assert timeline(simulation) == [(0, "a", "PENDING"), (60, "a", "PENDING"), (180, "a", "COMPLETED")]
        assert simulation.flow.tasks["a"]["data"] == {"result": 7}

    def test_an_error_that_the_policy_does_not_name_is_final(self) -> None:
        simulation = simulate(
            {"key": "a", **CALL, "cfg": self.RETRY},
            results={"tasks": {"a": {"fail": {"type": "PaymentRefused", "message": "no cover"}}}},
        )
        assert simulation.flow.describe_failure() == "task 'a': PaymentRefused: no cover"

    @pytest.mark.parametrize("name", ["UnicodeDecodeError", "KeyError", "ExceptionGroup"])
    def test_any_name_of_an_error_class_will_do(self, name: str) -> None:
        fail = {"type": name, "message": "broken"}
        simulation = simulate({"key": "a", **CALL}, results={"tasks": {"a": {"fail": fail}}})
        assert simulation.flow.tasks["a"]["error"]["type"] == name

    def test_a_policy_may_name_the_module_of_an_error_class(self) -> None:
        fail = {"fail": {"type": "shop.errors.Busy", "message": "later"}}
        for named, attempts in (("shop.errors.Busy", 2), ("other.Busy", 1)):
            cfg = {"retry": {"max_attempts": 2, "on": [named]}}
            simulation = simulate({"key": "a", **CALL, "cfg": cfg}, results={"tasks": {"a": fail}})
            assert simulation.flow.tasks["a"]["attempt"] == attempts

    def test_what_is_tried_for_ever_without_success_is_stopped(self) -> None:
        simulation = simulate(
            {"key": "a", **CALL, "cfg": {"retry": {"max_attempts": None, "delay": "1h"}}},
            results={"tasks": {"a": {"fail": "no"}}},
        )
        assert simulation.ending == "endless"

    def test_ticks_without_end_are_stopped(self) -> None:
        params = {"flow_spec": {"tasks": [{"task_type": "noop"}]}, "max_iterations": 1_000}
        simulation = simulate({"task_type": "loop", "task_params": params}, max_ticks=50)
        assert simulation.ending == "endless"


class TestPaths:
    def test_a_task_inside_others_is_named_by_its_path(self) -> None:
        inner = {"tasks": [{"key": "b", **CALL}], "results": {"r": "$ctx.flow.tasks.b.data.result"}}
        for task_type in ("inline_flow", "flow"):
            outer = {"key": "a", "task_type": task_type, "task_params": {"flow_spec": inner}}
            simulation = simulate(outer, results={"tasks": {"a/b": {"data": {"result": 3}, "duration": 5}}})
            assert simulation.flow.tasks["a"]["data"]["results"] == {"r": 3}
            assert (5, "a/b", "COMPLETED") in timeline(simulation)

    def test_items_are_named_one_by_one_or_all_together(self) -> None:
        params = {"items": [1, 2, 3], "mapping_params": {"skeleton": CALL, "wirings": []}}
        simulation = simulate(
            {"key": "s", "task_type": "spread", "task_params": params},
            results={"tasks": {"s/*": {"data": {"n": 0}}, "s/item_1": {"data": {"n": 1}}}},
        )
        assert simulation.flow.tasks["s"]["data"]["results"] == [{"n": 0}, {"n": 1}, {"n": 0}]

    def test_rounds_of_a_loop_are_named_one_by_one_or_all_together(self) -> None:
        inner = {"tasks": [{"key": "t", **CALL}], "results": {"n": "$ctx.flow.tasks.t.data.n"}}
        until = {"value": "$ctx.loop.last.n", "op": "eq", "arg": 1}
        params = {"flow_spec": inner, "max_iterations": 9, "until": until}
        simulation = simulate(
            {"key": "l", "task_type": "loop", "task_params": params},
            results={"tasks": {"l/t": {"data": {"n": 0}}, "l/round_2/t": {"data": {"n": 1}}}},
        )
        assert simulation.flow.tasks["l"]["data"]["iterations"] == 3
        assert [task for _, task, event in timeline(simulation) if event == "COMPLETED"] == [
            "l/round_0/t",
            "l/round_1/t",
            "l/round_2/t",
            "l",
        ]

    def test_a_task_that_is_called_like_a_round_is_a_task(self) -> None:
        inner = {"tasks": [{"key": "round_1", **CALL}]}
        simulation = simulate(
            {"key": "a", "task_type": "inline_flow", "task_params": {"flow_spec": inner}},
            results={"tasks": {"a/round_1": {"duration": 7}}},
        )
        assert (7, "a/round_1", "COMPLETED") in timeline(simulation)

    def test_the_task_that_a_switch_chooses_is_named_with_its_key_or_by_the_switch(self) -> None:
        for key, path in (({"key": "x"}, "s/x"), ({}, "s")):
            params = {"control_value": 1, "default_case": {"task": {**CALL, **key}}}
            switch = {"key": "s", "task_type": "switch", "task_params": params}
            results = {"tasks": {path: {"data": {"result": 9}, "duration": 4}}}
            simulation = simulate(switch, results=results)
            assert simulation.flow.tasks["s"]["data"] == {"result": 9}
            assert timeline(simulation)[-1] == (4, "s", "COMPLETED")

    def test_a_scripted_result_of_a_type_is_for_all_tasks_of_the_type_without_one(self) -> None:
        simulation = simulate(
            {"key": "a", **CALL},
            {"key": "b", **CALL},
            results={"task_types": {"call": {"data": {"n": 1}}}, "tasks": {"b": {"data": {"n": 2}}}},
        )
        assert [simulation.flow.tasks[key]["data"]["n"] for key in "ab"] == [1, 2]

    def test_a_scripted_result_takes_the_place_of_a_whole_sub_flow(self) -> None:
        inner = {"tasks": [{"key": "b", **CALL}]}
        simulation = simulate(
            {"key": "a", "task_type": "flow", "task_params": {"flow_spec": inner}},
            results={"tasks": {"a": {"data": {"results": {"x": 1}}}}},
        )
        assert simulation.flow.tasks["a"]["data"] == {"results": {"x": 1}}
        assert [entry.task for entry in simulation.timeline if entry.task == "a/b"] == []

    def test_scripted_results_that_are_never_used_are_told(self) -> None:
        never = {"key": "b", **CALL, "cfg": {"when": {"any": []}}}
        simulation = simulate(
            {"key": "a", **CALL}, never, results={"tasks": {"b": {}}, "task_types": {"print": {}}}
        )
        assert simulation.unused == ("b", "type print")


class TestEvents:
    WAIT: ClassVar[dict[str, Any]] = {
        "key": "w",
        "task_type": "wait_for_signal",
        "task_params": {"signal": "paid", "schema": {"type": "object"}},
    }

    def test_a_signal_comes_at_its_time(self) -> None:
        signals = [{"signal": "paid", "at": "2h", "data": {"amount": 1}, "by": "shop"}]
        simulation = simulate(self.WAIT, results={"signals": signals})
        assert timeline(simulation) == [
            (0, "w", "WAITING"),
            (7200, None, "signal 'paid'"),
            (7200, "w", "COMPLETED"),
        ]
        assert simulation.flow.tasks["w"]["data"] == {"signal": {"amount": 1}}

    def test_a_signal_without_a_time_is_there_from_the_start(self) -> None:
        simulation = simulate(self.WAIT, results={"signals": [{"signal": "paid", "data": {}}]})
        assert (simulation.flow.status, simulation.to_dict()["seconds"]) == ("COMPLETED", 0)

    def test_a_signal_that_is_refused_is_told_and_nothing_else_happens(self) -> None:
        simulation = simulate(self.WAIT, results={"signals": [{"signal": "paid", "at": 5, "data": 7}]})
        (entry,) = (entry for entry in simulation.timeline if entry.event == "signal 'paid'")
        assert entry.error is not None
        assert entry.error["type"] == "SignalError"
        assert simulation.ending == "waiting"

    def test_a_flow_that_waits_for_ever_ends_the_simulation_and_says_for_what(self) -> None:
        approval = {"key": "ok", "task_type": "approval", "precursors": []}
        inner = {
            "key": "in",
            "task_type": "inline_flow",
            "task_params": {"flow_spec": {"tasks": [self.WAIT]}},
        }
        simulation = simulate({**inner, "precursors": []}, approval)
        assert simulation.ending == "waiting"
        assert [(wait.task, wait.waits_for, wait.until) for wait in simulation.waits] == [
            ("in/w", "signal 'paid'", None),
            ("ok", "a decision", None),
        ]

    def test_a_decision_is_made_at_its_time(self) -> None:
        approval = {"key": "ok", "task_type": "approval", "task_params": {"approvers": ["ada"]}}
        decisions = [
            {"task": "ok", "approved": True, "by": "eve", "at": "1h"},
            {"task": "ok", "approved": False, "by": "ada", "at": "2h", "comment": "too dear"},
        ]
        simulation = simulate(approval, results={"decisions": decisions})
        assert simulation.to_dict()["seconds"] == 7200
        assert simulation.flow.describe_failure() == "task 'ok': Rejected: Rejected by ada: too dear"
        refused = [entry.event for entry in simulation.timeline if entry.old_status is None and entry.error]
        assert refused == ["approval of 'ok' by eve"]

    def test_what_comes_too_late_or_is_not_taken_is_told(self) -> None:
        signals = [{"signal": "early"}, {"signal": "late", "at": "1d"}]
        simulation = simulate({"task_type": "noop"}, results={"signals": signals})
        assert simulation.unused == (
            "signal 'late', which came after the end",
            "signal 'early', which no task took",
        )


class TestResources:
    def tasks(self) -> list[dict[str, Any]]:
        return [{"key": key, **CALL, "precursors": [], "cfg": {"resources": ["db"]}} for key in "abc"]

    def test_tasks_share_what_the_scripted_results_say_there_is(self) -> None:
        results = {"task_types": {"call": {"duration": 60}}, "resources": {"db": {"slots": 2}}}
        simulation = simulate(*self.tasks(), results=results)
        done = [entry for entry in timeline(simulation) if entry[2] == "COMPLETED"]
        assert done == [(60, "a", "COMPLETED"), (60, "b", "COMPLETED"), (120, "c", "COMPLETED")]

    def test_a_rate_lets_time_pass(self) -> None:
        simulation = simulate(*self.tasks(), results={"resources": {"db": {"rate": "1/hour"}}})
        done = [entry for entry in timeline(simulation) if entry[2] == "COMPLETED"]
        assert [after for after, _, _ in done] == [0, 3600, 7200]

    def test_of_a_resource_that_is_not_named_there_is_enough(self) -> None:
        simulation = simulate(*self.tasks(), results={"resources": {"other": {"slots": 1}}})
        assert (simulation.flow.status, simulation.waits) == ("COMPLETED", ())


class TestScriptsThatAreWrong:
    @pytest.mark.parametrize(
        ("results", "pointer", "code"),
        [
            ([], "", "MC001"),
            ({"task": {}}, "/task", "MC003"),
            ({"tasks": {"a": {"dta": {}}}}, "/tasks/a/dta", "MC003"),
            ({"tasks": {"a": {"data": []}}}, "/tasks/a/data", "MC001"),
            ({"tasks": {"a": {"duration": "5x"}}}, "/tasks/a/duration", "MC130"),
            ({"tasks": {"a": {"duration": -1}}}, "/tasks/a/duration", "MC005"),
            ({"tasks": {"a": {"attempts": []}}}, "/tasks/a/attempts", "MC005"),
            ({"tasks": {"a": {"attempts": [{"duration": "x"}]}}}, "/tasks/a/attempts/0/duration", "MC130"),
            ({"tasks": {"a": {"attempts": [{}], "data": {}}}}, "/tasks/a", "MC006"),
            ({"tasks": {"a": {"fail": {"type": "not a name"}}}}, "/tasks/a/fail/type", "MC006"),
            ({"tasks": {"b/c": {}}}, "/tasks/b~1c", "MC152"),
            ({"signals": [{"at": 1}]}, "/signals/0", "MC002"),
            ({"signals": [{"signal": "s", "at": "1x"}]}, "/signals/0/at", "MC130"),
            (
                {"decisions": [{"task": "a", "approved": "yes", "by": "x", "at": 1}]},
                "/decisions/0/approved",
                "MC001",
            ),
            ({"decisions": [{"task": "a", "approved": True, "at": 1}]}, "/decisions/0", "MC002"),
            ({"start": "tomorrow"}, "/start", "MC131"),
            ({"resources": {"db": {"slots": 0}}}, "/resources/db/slots", "MC005"),
            ({"resources": {"db": {"rate": "often"}}}, "/resources/db", "MC006"),
            ({"resources": {"d b": {"slots": 1}}}, "/resources/d b", "MC006"),
            ({"tasks": {"a": {"data": {"x": float("nan")}}}}, "/tasks/a/data/x", "MC010"),
        ],
    )
    def test_each_problem_is_told_with_its_place(self, results: Any, pointer: str, code: str) -> None:
        with pytest.raises(SpecError, match="The script has 1 problem") as caught:
            read_script(results, {"tasks": [{"key": "a", "task_type": "noop"}]})
        assert [(problem.pointer, problem.code[:5]) for problem in caught.value.problems] == [(pointer, code)]

    def test_the_nearest_task_is_suggested(self) -> None:
        with pytest.raises(SpecError) as caught:
            read_script({"tasks": {"fetsh/x": {}}}, {"tasks": [{"key": "fetch", "task_type": "noop"}]})
        assert caught.value.problems[0].suggestion == "fetch"

    def test_the_schema_is_a_sound_one(self) -> None:
        from jsonschema import Draft202012Validator

        Draft202012Validator.check_schema(load_script_schema())
