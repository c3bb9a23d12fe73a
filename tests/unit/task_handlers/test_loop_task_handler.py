from __future__ import annotations

import pytest

from mc.flows.flow import Flow


def loop(*tasks, max_iterations=5, results=None, data=None, **params):
    flow_spec = {"tasks": list(tasks)}
    if results is not None:
        flow_spec["results"] = results
    if data is not None:
        flow_spec["data"] = data
    params = {"flow_spec": flow_spec, "max_iterations": max_iterations, **params}
    return {"key": "t", "task_type": "loop", "task_params": params}


ADD = {  # leaves the sum of what the round before left and its own number
    "key": "add",
    "task_type": "add",
    "task_params": {"idx": "$ctx.loop.idx", "last": "$ctx.loop.last"},
}
RESULTS = {"sum": "$ctx.flow.tasks.add.data.sum"}


@pytest.fixture(autouse=True)
def _add(engine):
    def add(params):
        return {"sum": params["idx"] + (params["last"] or {"sum": 0})["sum"]}

    engine.registry.register("add", add)


def test_without_a_condition_it_makes_all_rounds(run):
    flow = run(loop(ADD, results=RESULTS, max_iterations=5))
    assert flow.tasks["t"]["data"] == {"iterations": 5, "last": {"sum": 10}}
    assert flow.ticks == 5


def test_without_results_the_data_of_the_last_round_are_left(run):
    wire = {"task_type": "wire", "task_params": {"wirings": ["ctx.loop.idx => ctx.flow.data.idx"]}}
    flow = run(loop(wire, data={"a": 1}, max_iterations=3))
    assert flow.tasks["t"]["data"] == {"iterations": 3, "last": {"a": 1, "idx": 2}}


def test_until_ends_it_after_the_round(run):
    until = {"value": "$ctx.loop.last.sum", "op": "ge", "arg": 3}
    flow = run(loop(ADD, results=RESULTS, until=until))
    assert flow.tasks["t"]["data"] == {"iterations": 3, "last": {"sum": 3}}


def test_until_sees_the_number_of_the_round_that_has_just_ended(run):
    flow = run(loop(ADD, results=RESULTS, until={"value": "$ctx.loop.idx", "op": "eq", "arg": 0}))
    assert flow.tasks["t"]["data"]["iterations"] == 1


def test_while_is_asked_before_the_first_round(run):
    flow = run(loop(ADD, **{"while": {"value": "$ctx.loop.last", "op": "ne", "arg": None}}))
    assert flow.tasks["t"]["data"] == {"iterations": 0, "last": None}
    assert flow.tasks["t"]["status"] == "COMPLETED"


def test_while_goes_on_as_long_as_it_holds(run):
    flow = run(loop(ADD, results=RESULTS, **{"while": {"value": "$ctx.loop.idx", "op": "lt", "arg": 3}}))
    assert flow.tasks["t"]["data"] == {"iterations": 3, "last": {"sum": 3}}


@pytest.mark.parametrize(
    ("name", "op", "outcome"),
    [
        ("until", "gt", "'until' condition does not hold yet"),
        ("while", "le", "'while' condition still holds"),
    ],
)
def test_a_condition_that_wants_more_than_the_maximum_fails(run, name, op, outcome):
    flow = run(loop(ADD, max_iterations=2, **{name: {"value": "$ctx.loop.idx", "op": op, "arg": 9}}))
    assert flow.tasks["t"]["error"]["message"] == f"The loop's {outcome} after max_iterations (2) rounds."
    assert flow.tasks["t"]["data"]["iterations"] == 2


@pytest.mark.parametrize("name", ["until", "while"])
def test_a_condition_that_is_met_in_the_last_round_is_met(run, name):
    op = "eq" if name == "until" else "lt"
    arg = 1 if name == "until" else 2
    flow = run(loop(ADD, max_iterations=2, **{name: {"value": "$ctx.loop.idx", "op": op, "arg": arg}}))
    assert flow.tasks["t"]["status"] == "COMPLETED"
    assert flow.tasks["t"]["data"]["iterations"] == 2


def test_conditions_read_the_flow_around_the_loop(run):
    until = {"value": "$ctx.flow.data.stop", "op": "is_true"}
    assert run(loop(ADD, until=until), data={"stop": True}).tasks["t"]["data"]["iterations"] == 1


def test_between_rounds_it_waits(engine, clock):
    flow = Flow.from_flow_spec({"tasks": [loop(ADD, max_iterations=3, delay="10s")]})
    report = engine.tick_flow(flow)
    assert flow.tasks["t"]["status"] == "WAITING"
    assert (report.next_tick_at - clock.now()).total_seconds() == 10
    engine.run_flow(flow)
    assert clock.now().second == 20
    assert flow.tasks["t"]["data"]["iterations"] == 3
    flow.check_invariants()


def test_a_round_takes_the_ticks_that_it_needs(run):
    flow = run(loop({"task_type": "count_down", "task_params": {"ticks": 3}}, max_iterations=2))
    assert flow.ticks == 6


def test_a_failing_round_is_named(fail_with):
    task = {
        "key": "bad",
        "task_type": "fail",
        "cfg": {"when": {"value": "$ctx.loop.idx", "op": "eq", "arg": 1}},
        "task_params": {"msg": "boom"},
    }
    assert fail_with(loop(task)) == "Round 2 of the loop failed: task 'bad': ValueError: boom"


def test_each_round_has_keys_of_its_own(engine, run):
    seen = []
    engine.registry.register("see", lambda task_ctx: seen.append(task_ctx["idempotency_key"]))
    run(loop({"key": "a", "task_type": "see"}, max_iterations=2))
    assert seen == ["f/t/1/0/a/1", "f/t/1/1/a/1"]


def test_an_inner_loop_has_its_own_numbers(engine, run):
    seen = []
    engine.registry.register("see", lambda params: seen.append((params["outer"], params["inner"])))
    task = {"task_type": "see", "task_params": {"outer": "$ctx.parent.loop.idx", "inner": "$ctx.loop.idx"}}
    run(loop(loop(task, max_iterations=2), max_iterations=2))
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_new_attempt_begins_with_the_first_round(engine, run):
    seen = []

    def flaky(params):
        seen.append(params["idx"])
        if len(seen) == 2:
            raise ConnectionError

    engine.registry.register("flaky", flaky)
    task = loop({"task_type": "flaky", "task_params": {"idx": "$ctx.loop.idx"}}, max_iterations=2)
    flow = run({**task, "cfg": {"retry": {"max_attempts": 2}}})
    assert seen == [0, 1, 0, 1]
    assert flow.tasks["t"]["data"]["iterations"] == 2


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"max_iterations": 1}, "task_params.flow_spec is missing"),
        ({"flow_spec": {}}, "task_params.max_iterations is missing; expected a whole number"),
        ({"flow_spec": {}, "max_iterations": 0}, "task_params.max_iterations is 0; expected at least 1"),
        ({"flow_spec": {}, "max_iterations": True}, "max_iterations is true/false; expected a whole number"),
        ({"flow_spec": {}, "max_iterations": 1, "delay": "x"}, "'x' is not a duration"),
        ({"flow_spec": {}, "max_iterations": 1, "while": {}, "until": {}}, "while or until, not both"),
        ({"flow_spec": {}, "max_iterations": 1, "while": {"op": "eq"}}, "Malformed condition"),
        ({"flow_spec": {}, "max_iterations": 1, "until": [1]}, "a condition is a mapping, not list"),
    ],
)
def test_what_is_wrong_with_the_parameters_is_said(fail_with, params, problem):
    assert problem in fail_with({"task_type": "loop", "task_params": params})


@pytest.mark.parametrize("name", ["until", "while"])
def test_a_condition_that_cannot_be_evaluated_counts_the_rounds_that_were_completed(name, engine):
    condition = {"value": "$ctx.flow.data.enough", "op": "is_true"}
    made = []
    engine.registry.register("note", lambda task_ctx: made.append(task_ctx["loop"]["idx"]))
    note = {"task_type": "note"}
    data = {"enough": name == "while"}
    spec = {"data": data, "tasks": [loop(note, data={"a": 1}, max_iterations=3, **{name: condition})]}
    flow = engine.flow_spec_to_flow(spec)
    if name == "while":
        engine.tick_flow(flow)
    del flow.data["enough"]
    while flow.status != "FAILED":
        engine.tick_flow(flow)
    assert flow.tasks["t"]["data"] == {"iterations": 1, "last": {"a": 1}}
    flow.data["enough"] = name == "until"
    engine.control(flow, "retry", by="ann")
    assert engine.run_flow(flow).status == "COMPLETED"
    assert (made, flow.tasks["t"]["data"]["iterations"]) == ([0], 1)  # nothing was repeated
