"""Migrations: what moving a flow to a new spec comes to, and what forbids it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from mc.clock import ManualClock
from mc.errors import MigrationError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.migration.carry_out import migrate_flow
from mc.flows.migration.planning import plan_migration

HOUR = {"duration": "1h"}


def task(key: str, *precursors: str, task_type: str = "noop", **entries: Any) -> dict[str, Any]:
    return {"key": key, "task_type": task_type, "precursors": list(precursors), **entries}


# done, off (SKIPPED), waits; then what has not begun
SPEC: dict[str, Any] = {
    "key": "f",
    "data": {"n": 1},
    "tasks": [
        task("done"),
        task("off", cfg={"when": {"any": []}}),
        task("waits", task_type="wait", task_params=HOUR),
        task("next", "done", "waits"),
        task("last", "next"),
    ],
}


def make_engine() -> FlowEngine:
    def bad(task: dict[str, Any], task_ctx: Any) -> None:
        raise ValueError(task["task_params"].get("why", "bad"))

    return FlowEngine(task_handlers={"bad": bad}, clock=ManualClock())


@pytest.fixture
def engine() -> FlowEngine:
    return make_engine()


@pytest.fixture
def flow(engine: FlowEngine) -> Flow:
    made = engine.flow_spec_to_flow(SPEC)
    engine.tick_flow(made)
    counts = {"COMPLETED": 1, "SKIPPED": 1, "WAITING": 1, "PENDING": 2}
    assert made.count_tasks() == counts
    return made


def changed(**tasks: dict[str, Any] | None) -> dict[str, Any]:
    """Return the spec with entries of some tasks laid over, or tasks taken out."""
    spec = deepcopy(SPEC)
    spec["tasks"] = [
        {**entry, **(tasks.get(entry["key"]) or {})}
        for entry in spec["tasks"]
        if tasks.get(entry["key"], {}) is not None
    ]
    return spec


def obstacles(flow: Flow, spec: Any, engine: FlowEngine | None = None) -> list[tuple[str, str | None, str]]:
    """Return what forbids a migration: code, task and place."""
    found = plan_migration(flow, spec, task_types=(engine or make_engine()).registry).obstacles
    assert all(each.message.endswith((".", "]")) and each.advice for each in found)
    return [(each.code, each.task_key, each.pointer) for each in found]


class TestPlan:
    def test_it_names_what_stays_is_added_removed_and_changed(self, flow: Flow) -> None:
        new = changed(last=None, next={"label": "n", "precursors": ["done", "check"]})
        new["tasks"].insert(3, task("check", "waits", task_type="print", task_params={"msg": "m"}))
        plan = plan_migration(flow, {**new, "cfg": {"priority": 3}, "results": {"n": "$ctx.flow.data.n"}})
        assert plan.stays == ("done", "off", "waits")
        assert (plan.added, plan.removed) == (("check",), ("last",))
        assert [(each.key, each.parts) for each in plan.changed] == [("next", ("label", "precursors"))]
        assert plan.attributes == ("cfg", "results")
        assert (plan.obstacles, plan.is_applied, plan.is_same) == ((), False, False)

    def test_it_changes_nothing(self, flow: Flow) -> None:
        before = flow.to_flow_dict()
        plan_migration(flow, changed(last=None))
        assert flow.to_flow_dict() == before

    def test_tasks_are_compared_as_the_specs_write_them(self, flow: Flow) -> None:
        flow.tasks["done"]["data"]["found"] = 3
        flow.tasks["next"]["task_params"] = {"written": "by a wire"}
        plan = plan_migration(flow, changed(last={"label": "end"}))
        assert [each.key for each in plan.changed] == ["last"]
        assert not plan.obstacles

    def test_ways_of_writing_the_same_are_no_change(self, flow: Flow) -> None:
        new = changed(done={"cfg": {}, "data": {}}, waits={"task_type": "mc.tasks.wait"})
        new["tasks"][3]["precursors"].reverse()
        plan = plan_migration(flow, new)
        assert (plan.changed, plan.obstacles) == ((), ())

    def test_tasks_without_a_key_are_told_apart_by_their_places(self, engine: FlowEngine) -> None:
        tasks = [{"task_type": "noop"}, {"task_type": "noop"}]
        flow = engine.flow_spec_to_flow({"tasks": tasks})
        plan = plan_migration(flow, {"tasks": [*tasks, {"task_type": "noop"}]})
        assert (plan.stays, plan.added) == (("task_1", "task_2"), ("task_3",))

    def test_the_same_spec_is_nothing_to_do(self, flow: Flow) -> None:
        plan = migrate_flow(flow, dict(reversed(SPEC.items())))
        assert (plan.is_same, plan.is_applied) == (True, False)

    def test_the_spec_that_a_flow_with_other_data_was_made_from_is_the_same(self, engine: FlowEngine) -> None:
        began = {**SPEC, "data": {"n": 7, "more": 1}}  # as a submit with data keeps it
        plan = plan_migration(engine.flow_spec_to_flow(began), SPEC)
        assert (plan.is_same, plan.kept_data) == (True, ("n",))


class TestObstacles:
    @pytest.mark.parametrize("key", ["done", "off"])
    @pytest.mark.parametrize(
        ("entries", "place"),
        [
            ({"task_type": "print", "task_params": {"msg": "m"}}, "task_type"),
            ({"task_type": "print", "task_params": {"msg": "m"}}, "task_params"),
            ({"precursors": ["last"]}, "precursors"),
        ],
    )
    def test_a_finished_task_must_not_change(
        self, flow: Flow, key: str, entries: dict[str, Any], place: str
    ) -> None:
        spec = changed(**{key: entries}, last={"precursors": []})
        at = ["done", "off"].index(key)
        assert ("finished-task-changed", key, f"/tasks/{at}/{place}") in obstacles(flow, spec)

    @pytest.mark.parametrize("entries", [{"label": "x"}, {"cfg": {"priority": 1}}, {"data": {"a": 1}}])
    def test_what_a_finished_task_does_not_need_any_more_may_change(
        self, flow: Flow, entries: dict[str, Any]
    ) -> None:
        before = deepcopy(flow.tasks["done"])
        plan = migrate_flow(flow, changed(done=entries))
        assert [(each.key, each.takes_effect) for each in plan.changed] == [("done", False)]
        assert flow.tasks["done"] == before

    @pytest.mark.parametrize(
        "entries",
        [{"task_params": {"duration": "2h"}}, {"cfg": {"timeout": "3h"}}, {"data": {"a": 1}}],
    )
    def test_a_task_under_way_must_not_change(self, flow: Flow, entries: dict[str, Any]) -> None:
        (part,) = entries
        found = obstacles(flow, changed(waits=entries))
        assert found == [("active-task-changed", "waits", f"/tasks/2/{part}")]

    def test_a_task_that_has_begun_must_not_be_removed(self, flow: Flow) -> None:
        spec = changed(done=None, off=None, waits=None, next={"precursors": []})
        assert obstacles(flow, spec) == [
            ("finished-task-removed", "done", "/tasks"),
            ("finished-task-removed", "off", "/tasks"),
            ("active-task-removed", "waits", "/tasks"),
        ]

    def test_a_task_under_way_cannot_wait_for_what_is_unfinished(self, flow: Flow) -> None:
        spec = changed(waits={"precursors": ["done", "first"]})
        spec["tasks"].append(task("first"))
        assert obstacles(flow, spec) == [("unfinished-precursor", "waits", "/tasks/2/precursors")]

    def test_a_task_under_way_may_get_a_precursor_that_is_done(self, flow: Flow) -> None:
        migrate_flow(flow, changed(waits={"precursors": ["done"]}))
        assert flow.has_edge("done", "waits")

    def test_a_task_under_way_must_still_have_been_allowed_to_begin(self, flow: Flow) -> None:
        spec = changed(waits={"precursors": ["off"]})
        assert obstacles(flow, spec) == [("start-rule-broken", "waits", "/tasks/2/precursors")]

    def test_problems_of_the_new_spec_are_told_with_their_tasks(self, flow: Flow) -> None:
        spec = changed(next={"precursors": ["last"]}, last={"task_typ": "noop"})
        found = plan_migration(flow, spec).obstacles
        assert {each.code for each in found} == {"invalid-spec"}
        assert ("last", "/tasks/4/task_typ") in [(each.task_key, each.pointer) for each in found]
        assert any("next -> last -> next" in each.message for each in found)

    @pytest.mark.parametrize("spec", [None, 3, [], {"tasks": 1}, {"tasks": [None]}, {"key": float("nan")}])
    def test_what_is_no_spec_at_all_is_refused(self, flow: Flow, spec: Any) -> None:
        assert {code for code, _, _ in obstacles(flow, spec)} == {"invalid-spec"}

    def test_the_key_of_another_flow_is_refused(self, flow: Flow) -> None:
        assert obstacles(flow, {**SPEC, "key": "g"}) == [("other-key", None, "/key")]

    def test_data_that_do_not_keep_to_new_params_are_refused(self, flow: Flow) -> None:
        flow.data["n"] = "many"
        params = {"properties": {"n": {"type": "integer"}}, "required": ["m"]}
        assert obstacles(flow, {**SPEC, "params": params}) == [("data-misfit", None, "/params")] * 2
        flow.data.update(n=2, m=1)
        assert obstacles(flow, {**SPEC, "params": params}) == []

    def test_new_data_that_do_not_keep_to_the_params_are_refused(self, engine: FlowEngine) -> None:
        spec = {"params": {"properties": {"m": {"type": "integer"}}}, "tasks": [task("a")]}
        flow = engine.flow_spec_to_flow(spec)
        assert obstacles(flow, {**spec, "data": {"m": "one"}}) == [("data-misfit", None, "/params")]
        assert obstacles(flow, {**spec, "data": {"m": 1}}) == []

    def test_a_key_of_a_task_that_was_added_later_is_taken(self, flow: Flow) -> None:
        flow.add_task({"key": "more", "task_type": "noop"})
        spec = {**SPEC, "tasks": [*SPEC["tasks"], task("more")]}
        assert obstacles(flow, spec) == [("key-taken", "more", "/tasks/5/key")]

    def test_what_a_task_that_was_added_later_waits_for_is_needed(self, flow: Flow) -> None:
        flow.add_task({"key": "more", "task_type": "noop", "precursors": ["last"]})
        assert obstacles(flow, changed(last=None)) == [("needed-task-removed", "last", "/tasks")]

    def test_a_cycle_through_an_edge_that_was_added_later_is_found(self, flow: Flow) -> None:
        flow.add_task({"key": "between", "task_type": "noop", "precursors": ["next"], "successors": ["last"]})
        spec = changed(next={"precursors": ["last"]}, last={"precursors": []})
        assert ("cycle", None, "/tasks") in obstacles(flow, spec)

    def test_a_completed_flow_stays_what_it_is(self, engine: FlowEngine) -> None:
        flow = engine.run_flow(engine.flow_spec_to_flow({"tasks": [task("a")]}))
        assert obstacles(flow, {"tasks": [task("a"), task("b")]}) == [("flow-completed", None, "")]

    def test_a_flow_without_a_spec_has_nothing_to_be_compared_with(self) -> None:
        assert obstacles(Flow(key="f"), SPEC) == [("no-spec", None, "")]

    def test_all_reasons_come_at_once_and_nothing_is_changed(self, flow: Flow) -> None:
        before = flow.to_flow_dict()
        spec = {
            **changed(done=None, waits={"task_params": {"duration": "2h"}}, next={"precursors": []}),
            "key": "g",
        }
        with pytest.raises(MigrationError) as refused:
            migrate_flow(flow, spec)
        assert [each.code for each in refused.value.obstacles] == [
            "other-key",
            "active-task-changed",
            "finished-task-removed",
        ]
        text = str(refused.value)
        assert "3 reasons" in text
        assert "/tasks/1/task_params: Task 'waits' is WAITING" in text
        assert "houston cancel f" in text
        assert [each["task_key"] for each in refused.value.to_dict()["error"]["obstacles"]] == [
            None,
            "waits",
            "done",
        ]
        assert flow.to_flow_dict() == before


class TestMigratedFlow:
    def test_it_goes_on_by_the_new_spec(self, flow: Flow, engine: FlowEngine, capsys: Any) -> None:
        new = changed(
            last=None, next={"precursors": ["check"], "task_type": "print", "task_params": {"msg": "3"}}
        )
        new["tasks"].insert(3, task("check", "waits", "done", task_type="print", task_params={"msg": "2"}))
        migrate_flow(flow, {**new, "label": "moved"})
        flow.check_invariants()
        assert list(flow.tasks) == ["done", "off", "waits", "check", "next"]
        assert (flow.label, flow.status, flow.spec) == ("moved", "RUNNING", {**new, "label": "moved"})
        engine.clock.advance(3600)  # type: ignore[attr-defined]
        engine.run_flow(flow)
        assert capsys.readouterr().out == "2\n3\n"
        assert flow.count_tasks() == {"COMPLETED": 4, "SKIPPED": 1}

    def test_new_entries_of_data_are_added_and_others_stay(self, flow: Flow) -> None:
        flow.data["n"] = 5
        plan = migrate_flow(flow, {**SPEC, "data": {"n": 2, "m": [3]}})
        assert flow.data == {"n": 5, "m": [3]}
        assert (plan.added_data, plan.kept_data) == (("m",), ("n",))

    def test_a_flow_that_failed_is_mended_and_retried(self, engine: FlowEngine) -> None:
        spec = {"tasks": [task("a", task_type="bad"), task("b", "a")]}
        flow = engine.flow_spec_to_flow(spec)
        engine.tick_flow(flow)
        assert flow.status == "FAILED"
        migrate_flow(flow, {"tasks": [task("a"), task("b", "a")]}, task_types=engine.registry)
        flow.check_invariants()
        assert (flow.status, flow.tasks["a"]["status"]) == ("FAILED", "FAILED")
        flow.change_task_status("a", "PENDING")
        flow.change_status("RUNNING")
        assert engine.run_flow(flow).status == "COMPLETED"
        assert flow.tasks["a"]["attempt"] == 2

    def test_a_failed_task_is_retried_with_its_new_parameters(self, engine: FlowEngine) -> None:
        old = task("a", task_type="bad", task_params={"why": "$ctx.flow.data.old"})
        flow = engine.flow_spec_to_flow({"data": {"old": "o"}, "tasks": [old]})
        engine.tick_flow(flow)
        new = {"data": {"new": "n"}, "tasks": [{**old, "task_params": {"why": "$ctx.flow.data.new"}}]}
        migrate_flow(flow, new, task_types=engine.registry)
        flow.change_task_status("a", "PENDING")
        flow.change_status("RUNNING")
        engine.tick_flow(flow)
        assert flow.tasks["a"]["error"]["message"] == "n"

    @pytest.mark.parametrize("is_retried_first", [False, True])
    def test_what_was_done_inside_a_task_is_kept_only_while_its_parameters_are(
        self, engine: FlowEngine, is_retried_first: bool
    ) -> None:
        def spec(first: str, label: str) -> dict[str, Any]:
            inner = {"tasks": [task(first), task("bad", first, task_type="bad")]}
            return {
                "tasks": [task("sub", task_type="inline_flow", task_params={"flow_spec": inner}, label=label)]
            }

        for new, ticked_first in ((spec("x", "b"), "bad"), (spec("y", "a"), "y")):
            flow = engine.flow_spec_to_flow(spec("x", "a"))
            while flow.status != "FAILED":
                engine.tick_flow(flow)
            if is_retried_first:
                engine.control(flow, "retry", by="ada")
            migrate_flow(flow, new, task_types=engine.registry)
            if not is_retried_first:
                engine.control(flow, "retry", by="ada")
            engine.tick_flow(flow)
            inside = flow.to_flow_dict()["graph"]["tasks"]["sub"]
            done = (inside.get("flow_dict") or inside["kept"]["flow_dict"])["graph"]["tasks"]
            last = max(done.values(), key=lambda each: each.get("attempt", 0))
            assert last["key"] == ticked_first

    def test_a_skipped_task_has_its_new_cfg_when_it_is_retried(self, engine: FlowEngine) -> None:
        tasks = [task("a", task_type="bad"), task("b", "a")]
        flow = engine.flow_spec_to_flow({"cfg": {"fail_fast": False}, "tasks": tasks})
        while flow.status != "FAILED":
            engine.tick_flow(flow)
        assert flow.tasks["b"]["status"] == "SKIPPED"
        new = [task("a"), task("b", "a", cfg={"when": {"any": []}}), task("c", "b")]
        migrate_flow(flow, {"cfg": {"fail_fast": False}, "tasks": new}, task_types=engine.registry)
        engine.control(flow, "retry", by="ada")
        assert engine.run_flow(flow).count_tasks() == {"COMPLETED": 1, "SKIPPED": 2}
        assert flow.tasks["b"]["cfg"] == {"when": {"any": []}}

    def test_a_failed_task_cannot_wait_for_a_new_one_before_it_is_retried(self, engine: FlowEngine) -> None:
        flow = engine.flow_spec_to_flow({"tasks": [task("a", task_type="bad")]})
        engine.tick_flow(flow)
        new = {"tasks": [task("a", "first", task_type="bad"), task("first")]}
        assert obstacles(flow, new, engine) == [("unfinished-precursor", "a", "/tasks/0/precursors")]
        flow.change_task_status("a", "PENDING")
        flow.change_status("RUNNING")
        migrate_flow(flow, new, task_types=engine.registry)
        assert [each["key"] for each in flow.get_nearest_tickable_pending_tasks()] == ["first"]

    def test_a_task_between_two_attempts_gets_its_new_parameters(self, engine: FlowEngine) -> None:
        cfg = {"retry": {"max_attempts": 2, "delay": "1m"}}
        old = task("a", task_type="bad", task_params={"why": "${ctx.flow.data.n}"}, cfg=cfg)
        flow = engine.flow_spec_to_flow({"data": {"n": 1}, "tasks": [old]})
        engine.tick_flow(flow)
        assert flow.tasks["a"]["status"] == "PENDING"
        new = {**old, "task_params": {"why": "$ctx.flow.data.m"}}
        migrate_flow(flow, {"data": {"n": 1, "m": "new"}, "tasks": [new]}, task_types=engine.registry)
        assert engine.tick_flow(flow).started == []  # the delay goes on
        engine.clock.advance(60)  # type: ignore[attr-defined]
        engine.tick_flow(flow)
        assert flow.tasks["a"]["error"]["message"] == "new"

    def test_what_can_never_start_by_the_new_spec_is_skipped(self, flow: Flow, engine: FlowEngine) -> None:
        migrate_flow(flow, changed(last={"precursors": ["off"]}))
        flow.check_invariants()
        assert engine.tick_flow(flow).skipped == ["last"]

    @pytest.mark.parametrize("limit", [{"slots": 1}, {"rate": "1/h"}])
    def test_a_task_that_waits_for_a_resource_goes_on_waiting_unless_it_needs_it_no_more(
        self, engine: FlowEngine, limit: dict[str, Any]
    ) -> None:
        engine.resources.set("db", **limit)
        cfg = {"resources": ["db"]}
        holder = task("holder", task_type="wait", task_params=HOUR, cfg=cfg)
        flow = engine.flow_spec_to_flow({"tasks": [holder, task("a", cfg=cfg), task("b", cfg=cfg)]})
        engine.tick_flow(flow)
        migrate_flow(flow, {"tasks": [task("b", cfg=cfg), holder, task("a")]})
        flow.check_invariants()
        engine.tick_flow(flow)
        assert {key: flow.tasks[key]["status"] for key in "ab"} == {"a": "COMPLETED", "b": "PENDING"}
        engine.clock.advance(3600)  # type: ignore[attr-defined]
        assert engine.run_flow(flow).count_tasks() == {"COMPLETED": 3}

    def test_tasks_and_edges_that_were_added_later_stay(self, flow: Flow, engine: FlowEngine) -> None:
        flow.add_task({"key": "more", "task_type": "noop", "precursors": ["waits"], "successors": ["last"]})
        new = changed(next=None, last={"precursors": ["done"]})
        new["tasks"].append(task("end", "last"))
        plan = migrate_flow(flow, new)
        flow.check_invariants()
        assert "more" in plan.stays
        assert list(flow.tasks) == ["done", "off", "waits", "last", "end", "more"]
        assert [each["key"] for each in flow.get_precursors("last")] == ["done", "more"]

    def test_the_timeout_counts_from_the_first_tick_on(self, flow: Flow, engine: FlowEngine) -> None:
        engine.clock.advance(600)  # type: ignore[attr-defined]
        migrate_flow(flow, {**SPEC, "cfg": {"timeout": "30m"}})
        engine.clock.advance(1199)  # type: ignore[attr-defined]
        engine.tick_flow(flow)
        assert flow.status == "RUNNING"
        engine.clock.advance(1)  # type: ignore[attr-defined]
        engine.tick_flow(flow)
        assert flow.status == "FAILED"

    def test_a_sub_flow_that_runs_inside_a_task_goes_on(self, engine: FlowEngine) -> None:
        inner = {"tasks": [task("w", task_type="wait", task_params=HOUR), task("x", "w")]}
        sub = task("sub", task_type="inline_flow", task_params={"flow_spec": inner})
        flow = engine.flow_spec_to_flow({"tasks": [sub]})
        engine.tick_flow(flow)
        other = deepcopy(sub)
        other["task_params"]["flow_spec"]["tasks"][0]["task_params"] = {"duration": "2h"}
        place = "/tasks/0/task_params/flow_spec/tasks/0/task_params"
        assert obstacles(flow, {"tasks": [other]}) == [("active-task-changed", "sub/w", place)]
        migrate_flow(flow, {"tasks": [task("first"), sub]})
        engine.clock.advance(3600)  # type: ignore[attr-defined]
        assert engine.run_flow(flow).count_tasks() == {"COMPLETED": 2}

    def test_it_survives_a_trip_through_a_flow_dict(self, flow: Flow) -> None:
        migrate_flow(flow, changed(last=None))
        again = Flow.from_flow_dict(flow.to_flow_dict())
        assert again.to_flow_dict() == flow.to_flow_dict()
