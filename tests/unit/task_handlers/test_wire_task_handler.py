from __future__ import annotations

from mc.flows.flow import Flow
from mc.flows.formats.flow_rows import collect_changes, mark_saved


def wire(*wirings):
    return {"key": "t", "task_type": "wire", "task_params": {"wirings": list(wirings)}}


def test_values_are_copied_in_order(run):
    flow = run(
        {"key": "a", "task_type": "noop", "data": {"rows": [1, {"x": 2}]}},
        wire(
            "ctx.flow.tasks.a.data.rows => ctx.flow.data.copy",
            "ctx.flow.data.copy.1.x => ctx.flow.tasks.b.task_params.deep.er",
            {"value": "a text", "dest": "ctx.flow.tasks.b.data.text"},
        ),
        {"key": "b", "task_type": "noop"},
    )
    assert flow.data == {"copy": [1, {"x": 2}]}
    assert flow.data["copy"] is not flow.tasks["a"]["data"]["rows"]
    assert flow.tasks["b"]["task_params"] == {"deep": {"er": 2}}
    assert flow.tasks["b"]["data"] == {"text": "a text"}
    assert flow.tasks["t"]["data"] == {}


def test_all_tasks_of_the_flow_are_read_without_root(run):
    flow = run({"key": "a", "task_type": "noop"}, wire("ctx.flow.tasks => ctx.flow.data.found"))
    assert list(flow.data["found"]) == ["a", "t"]


def test_references_in_a_value_are_replaced_before_the_first_wiring(run):
    rows = {"all": "$ctx.flow.data.rows", "text": ["${ctx.flow.key} has ${ctx.flow.data.n}"]}
    flow = run(
        wire(
            {"value": 2, "dest": "ctx.flow.data.n"},
            {"value": rows, "dest": "ctx.flow.data.found"},
            {"value": "\\$ctx.flow.key", "dest": "ctx.flow.data.plain"},
        ),
        data={"rows": [1, 2], "n": 1},
    )
    assert flow.data["found"] == {"all": [1, 2], "text": ["f has 1"]}
    assert flow.data["found"]["all"] is not flow.data["rows"]
    assert flow.data["plain"] == "$ctx.flow.key"


def test_what_a_transform_holds_is_no_reference(run):
    params = {
        "skeleton": {"of": "$ctx.flow.key"},
        "wirings": [{"value": "$ctx.flow.data.n", "dest": "ctx.skeleton.n"}],
    }
    transform = {"type": "mapping", "params": params}
    flow = run(wire({"value": [1], "dest": "ctx.flow.data.found", "transform": transform}))
    assert flow.data["found"] == [{"of": "$ctx.flow.key", "n": "$ctx.flow.data.n"}]


def test_a_reference_in_a_value_that_leads_nowhere_fails_and_changes_nothing(run):
    flow = run(
        wire(
            {"value": 1, "dest": "ctx.flow.data.x"},
            {"value": "$ctx.flow.data.missing", "dest": "ctx.flow.data.y"},
        )
    )
    assert (flow.status, flow.data) == ("FAILED", {})
    assert "there is no 'missing'" in flow.tasks["t"]["error"]["message"]


def test_a_parameter_that_was_wired_is_what_the_task_runs_with(run, capsys):
    run(
        wire({"value": "wired", "dest": "ctx.flow.tasks.b.task_params.msg"}),
        {"key": "b", "task_type": "print", "task_params": {"msg": "spec"}},
    )
    assert capsys.readouterr().out == "wired\n"


def test_transforms(run):
    flow = run(
        wire(
            {"source": "ctx.flow.data.x", "dest": "ctx.flow.data.text", "transform": "json.dumps"},
            {
                "source": "ctx.flow.data.x",
                "dest": "ctx.flow.data.mapped",
                "transform": {
                    "type": "mapping",
                    "params": {"skeleton": {"n": 0}, "wirings": ["ctx.item.value => ctx.skeleton.n"]},
                },
            },
        ),
        data={"x": {"a": 1, "b": 2}},
    )
    assert flow.data["text"] == '{"a":1,"b":2}'
    assert flow.data["mapped"] == {"a": {"n": 1}, "b": {"n": 2}}


def test_a_failure_leaves_everything_as_it_was(run):
    flow = run(
        wire("ctx.flow.data.x => ctx.flow.data.y", "ctx.flow.data.missing => ctx.flow.data.z"),
        data={"x": 1},
    )
    assert flow.status == "FAILED"
    assert flow.data == {"x": 1}
    message = flow.tasks["t"]["error"]["message"]
    assert "Wiring 2" in message
    assert "there is no 'missing'" in message


def test_a_task_that_does_not_exist_is_no_destination(fail_with):
    task = wire({"value": 1, "dest": "ctx.flow.tasks.nobody.data.x"})
    assert "there is no 'nobody'" in fail_with(task)


def test_a_list_of_wirings_may_come_from_the_flow(run):
    task = {"task_type": "wire", "task_params": {"wirings": "$ctx.flow.data.wirings"}}
    value = {"value": "$ctx.flow.key", "dest": "ctx.flow.data.text"}
    flow = run(task, data={"wirings": ["ctx.flow.key => ctx.flow.data.key", value]})
    assert flow.data["key"] == "f"
    assert flow.data["text"] == "$ctx.flow.key"  # data brings no references of its own


def test_missing_wirings_are_named(fail_with):
    assert "task_params.wirings is missing" in fail_with({"task_type": "wire"})


def test_only_what_was_written_is_saved_again(engine):
    before = [{"key": f"a{n}", "task_type": "noop", "precursors": [], "data": {"x": n}} for n in range(5)]
    task = {
        **wire("ctx.flow.tasks.a0.data.x => ctx.flow.tasks.a1.data.y", "ctx.flow.data => ctx.flow.data.z"),
        "precursors": ["a0"],
    }
    flow = Flow.from_flow_spec({"tasks": [*before, task]})
    engine.tick_flow(flow)
    mark_saved(flow.state, collect_changes(flow.state))
    engine.tick_flow(flow)
    assert [row.key for row in collect_changes(flow.state).task_rows] == ["a1", "t"]
    assert flow.tasks["a1"]["data"] == {"x": 1, "y": 0}
