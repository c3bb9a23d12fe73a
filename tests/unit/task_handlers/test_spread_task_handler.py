from __future__ import annotations

import pytest

from mc.flows.flow import Flow

CONTAINERS = ("inline_flow", "flow")


def spread(items, skeleton, *wirings, container=None, **more):
    params = {"items": items, "mapping_params": {"skeleton": skeleton, "wirings": list(wirings)}}
    if container is not None:
        params["container_task_type"] = container
    return {"key": "t", "task_type": "spread", "task_params": params, **more}


def noop(**more):
    return {"task_type": "noop", **more}


TO_DATA = "ctx.item.value => ctx.skeleton.data.value"


@pytest.mark.parametrize("container", CONTAINERS)
class TestInBothContainers:
    def test_a_list_gives_a_list_in_its_order(self, run, container):
        items = [3, "x", None, {"a": [1]}]
        flow = run(spread(items, noop(), TO_DATA, container=container))
        assert flow.tasks["t"]["data"]["results"] == [{"value": item} for item in items]
        assert flow.ticks == 1

    def test_a_mapping_gives_a_mapping_in_its_order(self, run, container):
        flow = run(spread({"b": 1, "a": 2}, noop(), TO_DATA, container=container))
        results = flow.tasks["t"]["data"]["results"]
        assert list(results.items()) == [("b", {"value": 1}), ("a", {"value": 2})]

    @pytest.mark.parametrize("items", [[], {}])
    def test_nothing_to_do_completes_at_once(self, run, container, items):
        flow = run(spread(items, noop(), TO_DATA, container=container))
        flow_key = {"flow_key": None} if container == "flow" else {}
        assert flow.tasks["t"]["data"] == {**flow_key, "results": items}

    def test_null_stands_for_an_allowed_failure_and_for_a_skipped_task(self, run, container):
        cfg = {"allow_failure": True, "when": {"value": "$ctx.task.data.value", "op": "ne", "arg": 2}}
        skeleton = {"task_type": "fail_at", "task_params": {"n": "$ctx.task.data.value"}, "cfg": cfg}
        flow = run(spread([0, 1, 2, 3], skeleton, TO_DATA, container=container))
        assert flow.tasks["t"]["data"]["results"] == [{"value": 0}, None, None, {"value": 3}]

    def test_a_failure_that_is_not_allowed_names_the_item(self, fail_with, container):
        skeleton = {"task_type": "fail_at", "task_params": {"n": "$ctx.task.data.value"}}
        message = fail_with(spread([0, 1, 2], skeleton, TO_DATA, container=container))
        assert "task 'item_1': ValueError: at 1" in message

    def test_items_of_the_wrong_type_are_named(self, fail_with, container):
        message = fail_with(spread("abc", noop(), container=container))
        assert "task_params.items is text; expected a list or a mapping." in message


@pytest.fixture(autouse=True)
def _fail_at(engine):
    def fail_at(params):
        if params["n"] == 1:
            raise ValueError("at 1")

    engine.registry.register("fail_at", fail_at)


def test_wirings_see_the_item_the_items_and_the_flow(run):
    expected = {"kept": True, "item": {"key": "k", "value": 5, "idx": 0}, "first": 5, "unit": "m"}
    flow = run(
        spread(
            "$ctx.flow.data.rows",
            noop(data={"kept": True}),
            "ctx.item => ctx.skeleton.data.item",
            "ctx.items.k => ctx.skeleton.data.first",
            "ctx.flow.data.unit => ctx.skeleton.data.unit",
        ),
        data={"rows": {"k": 5}, "unit": "m"},
    )
    assert flow.tasks["t"]["data"]["results"] == {"k": expected}


def test_wirings_may_write_to_the_flow(run):
    flow = run(spread([1, 2], noop(), "ctx.item.idx => ctx.flow.data.seen"), data={})
    assert flow.data == {"seen": 1}


def test_the_items_run_in_parallel(run):
    task = {"task_type": "wait", "task_params": {"duration": 60}}
    flow = run(spread([1] * 5, task))
    assert flow.finished_at == "2000-01-01T00:01:00.000000+00:00"


def test_the_skeleton_may_say_otherwise(run):
    task = {"task_type": "wait", "task_params": {"duration": 60}}
    wiring = {"source": "ctx.flow.data.before", "dest": "ctx.skeleton.precursors"}
    flow = run(spread([1], task, wiring), data={"before": ["nobody"]})
    assert "'nobody'" in flow.tasks["t"]["error"]["message"]


def test_item_keys_are_stable(engine):
    for items in ([7, 8], {"x": 7, "y": 8}):
        flow = Flow.from_flow_spec({"tasks": [spread(items, {"task_type": "wait_for_ever", "key": "own"})]})
        engine.tick_flow(flow)
        saved = flow.to_flow_dict()["graph"]["tasks"]["t"]["flow_dict"]
        assert saved["graph"]["order"] == ["item_0", "item_1"]


def test_references_in_the_skeleton_are_read_in_the_sub_flow(run, capsys):
    task = {"task_type": "print", "task_params": {"msg": "${ctx.task.key} in ${ctx.parent.flow.key}"}}
    run(spread([1], task))
    assert capsys.readouterr().out == "item_0 in f\n"


def test_the_skeleton_is_not_changed(run):
    task = spread([1, 2], noop(), TO_DATA)
    flow = run(task)
    assert flow.tasks["t"]["task_params"] == task["task_params"]


def test_a_spread_of_spreads(run):
    inner = {**spread("$ctx.task.data.value", noop(), TO_DATA)}
    del inner["key"]
    flow = run(spread([[1, 2], [], [3]], inner, TO_DATA))
    found = [[part["value"] for part in item["results"]] for item in flow.tasks["t"]["data"]["results"]]
    assert found == [[1, 2], [], [3]]


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"mapping_params": {"skeleton": {}}}, "task_params.items is missing"),
        ({"items": []}, "task_params.mapping_params is missing; expected a mapping"),
        ({"items": [1], "mapping_params": {"wirings": []}}, "mapping_params.skeleton must be a task"),
        ({"items": [1], "mapping_params": {"skeleton": {}}}, "item_0"),
        ({"items": [1], "mapping_params": {"skeleton": {}, "wirings": ["x"]}}, "Wiring 1"),
        ({"items": [1], "container_task_type": "box"}, "'box'; expected one of inline_flow, flow"),
    ],
)
def test_what_is_wrong_with_the_parameters_is_said(fail_with, params, problem):
    assert problem in fail_with({"task_type": "spread", "task_params": params})


def test_a_wiring_that_fails_names_the_item(fail_with):
    message = fail_with(spread({"k": {}}, noop(), "ctx.item.value.n => ctx.skeleton.data.n"))
    assert "'k'" in message
    assert "no 'n'" in message
