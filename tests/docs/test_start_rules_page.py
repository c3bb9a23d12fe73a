"""Each row of the truth tables in `docs/reference/start-rules.md` is what the engine does."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations_with_replacement, permutations
from pathlib import Path
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.flows.state.start_rules import _NAMED_RULES
from mc.runners.flow_runner import FlowRunner
from mc.store.flow_store import FlowStore
from tests.support.partial_flows import never_read_whole

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "start-rules.md"

Spec = dict[str, Any]
Table = list[dict[str, str]]

# what becomes of a precursor -> a task that this becomes of
PRECURSORS: dict[str, Spec] = {
    "unfinished": {"task_type": "wait", "task_params": {"duration": "1h"}},
    "COMPLETED": {"task_type": "noop"},
    "FAILED": {"task_type": "bad", "cfg": {"allow_failure": True}},
    "SKIPPED by choice": {"task_type": "noop", "cfg": {"when": {"any": []}}},
    "SKIPPED for a failure": {"task_type": "noop", "precursors": ["FAILED"]},
    "CANCELLED": {"task_type": "cancelled"},
}
# what becomes of a precursor -> how Airflow calls it; it knows nothing like CANCELLED
IN_AIRFLOW = {
    "unfinished": "running",
    "COMPLETED": "success",
    "FAILED": "failed",
    "SKIPPED by choice": "skipped",
    "SKIPPED for a failure": "upstream_failed",
}
OUTCOMES = {"COMPLETED": "starts", "FAILED": "fails", "PENDING": "waits", "SKIPPED": "is skipped"}
WHEN = {
    "none": {},
    "holds": {"when": {"all": []}},
    "does not hold": {"when": {"any": []}},
    "cannot be evaluated": {"when": {"value": "$ctx.flow.data.nowhere", "op": "eq", "arg": 1}},
}
WANTED = {"holds": "COMPLETED", "can no longer hold": "FAILED", "is open": "unfinished"}


def read_table(name: str) -> Table:
    """Return the rows of the table that follows the comment `<!-- name -->`."""
    found = re.findall(rf"<!-- {name} -->\n((?:\|.*\n)+)", PAGE.read_text(encoding="utf-8"))
    assert len(found) == 1, name
    header, _, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in found[0].splitlines()
    ]
    return [dict(zip(header, row, strict=True)) for row in rows]


def key_of(name: str) -> str:
    return name.replace(" ", "_")


class Cases:
    """One flow with a task for each case, and what has to become of it."""

    def __init__(self) -> None:
        self.tasks: list[Spec] = [
            {"key": key_of(name), "precursors": [], **PRECURSORS[name]} for name in PRECURSORS
        ]
        self.tasks += [{**task, "key": f"{task['key']}_too"} for task in self.tasks]
        self.expected: dict[str, tuple[str, str]] = {}  # key -> the case in words, the outcome

    def add(self, words: str, expected: str, precursors: list[str], cfg: Spec) -> None:
        key = f"case_{len(self.expected)}"
        self.tasks.append(
            {"key": key, "task_type": "noop", "precursors": precursors, "cfg": {"allow_failure": True, **cfg}}
        )
        self.expected[key] = (words, expected)

    def make_flow(self) -> Flow:
        return Flow.from_flow_spec({"key": "f", "tasks": self.tasks})

    def check(self, flow: Flow) -> None:
        found = {key: (self.expected[key][0], OUTCOMES[flow.tasks[key]["status"]]) for key in self.expected}
        assert self.expected == found


def engine() -> FlowEngine:
    return FlowEngine(
        task_handlers={"bad": lambda: 1 / 0, "cancelled": lambda task: task.update(status="CANCELLED")}
    )


def run_in_memory(flow: Flow) -> Flow:
    made = engine()
    for _ in range(5):
        made.tick_flow(flow)
        flow.check_invariants()
    return flow


def run_in_parts(flow: Flow) -> Flow:
    """Run it by runners that read no more of a stored flow than they need."""
    with FlowStore("sqlite://", partial_from=1) as store:
        store.create(flow)
        with never_read_whole():
            for _ in range(5):
                FlowRunner(store, engine()).tick()
        return store.load("f")


Run = Callable[[Flow], Flow]
each_way = pytest.mark.parametrize("run", [run_in_memory, run_in_parts])


def pair(statuses: tuple[str, ...]) -> list[str]:
    """Return the keys of two different precursors that end so."""
    keys = [key_of(status) for status in statuses]
    return [f"{key}_too" if key in keys[:at] else key for at, key in enumerate(keys)]


@each_way
def test_one_precursor(run: Run) -> None:
    cases, table = Cases(), read_table("one precursor")
    assert [row["precursor"] for row in table] == list(PRECURSORS)
    for row in table:
        for rule in _NAMED_RULES:
            cases.add(
                f"{rule}: {row['precursor']}", row[rule], [key_of(row["precursor"])], {"start_when": rule}
            )
    cases.check(run(cases.make_flow()))


@each_way
def test_two_precursors_in_either_order(run: Run) -> None:
    cases, table = Cases(), read_table("two precursors")
    assert [(row["one"], row["other"]) for row in table] == list(combinations_with_replacement(PRECURSORS, 2))
    for row in table:
        for statuses in set(permutations((row["one"], row["other"]))):
            for rule in _NAMED_RULES:
                cases.add(f"{rule}: {statuses}", row[rule], pair(statuses), {"start_when": rule})
    cases.check(run(cases.make_flow()))


@each_way
def test_rules_that_name_tasks(run: Run) -> None:
    cases, table = Cases(), read_table("conditions")
    assert [(row["one"], row["other"]) for row in table] == list(combinations_with_replacement(WANTED, 2))
    for row in table:
        for verdicts in set(permutations((row["one"], row["other"]))):
            keys = pair(tuple(WANTED[verdict] for verdict in verdicts))
            conditions = [{"task": key, "status": ["COMPLETED", "SKIPPED"]} for key in keys]
            for group in ("all", "any"):
                cases.add(f"{group}: {verdicts}", row[group], [], {"start_when": {group: conditions}})
    cases.check(run(cases.make_flow()))


@each_way
def test_a_task_that_was_skipped_for_a_cancellation_counts_as_cancelled(run: Run) -> None:
    cases = Cases()
    cases.tasks.append({"key": "behind", "task_type": "noop", "precursors": ["CANCELLED"]})
    (row,) = (row for row in read_table("one precursor") if row["precursor"] == "CANCELLED")
    for rule in _NAMED_RULES:
        cases.add(rule, row[rule], ["behind"], {"start_when": rule})
    cases.check(run(cases.make_flow()))


@each_way
def test_a_rule_that_names_a_task_takes_its_status_as_it_is(run: Run) -> None:
    cases = Cases()
    for status, expected in (("SKIPPED", "starts"), ("FAILED", "is skipped")):
        rule = {"all": [{"task": key_of("SKIPPED for a failure"), "status": status}]}
        cases.add(status, expected, [], {"start_when": rule})
    cases.check(run(cases.make_flow()))


def test_airflow_does_under_its_rules_what_the_tables_say() -> None:
    for name, columns in (("one precursor", ("precursor",)), ("two precursors", ("one", "other"))):
        for row in read_table(name):
            states = [IN_AIRFLOW.get(row[column], "") for column in columns]
            told = row["Airflow"]
            if "" in states:
                assert told == "has no such state"
                continue
            assert told.split(", ") == [ask_airflow(rule, states) for rule in AIRFLOW_RULES]
            here = [row[rule] for rule in _NAMED_RULES]
            same = {"runs": "starts", "skipped": "is skipped", "upstream_failed": "is skipped"}
            assert here == [same.get(word, word) for word in told.split(", ")]


AIRFLOW_RULES = ("all_success", "all_done", "one_success", "one_failed", "none_failed")


def ask_airflow(rule: str, states: list[str]) -> str:
    """Return what Airflow's `TriggerRuleDep` makes of a task; it asks again whenever a state changes."""
    success, failed = states.count("success"), states.count("failed") + states.count("upstream_failed")
    skipped, is_done = states.count("skipped"), "running" not in states
    if rule == "all_success":
        becomes = {bool(skipped): "skipped", bool(failed): "upstream_failed"}.get(True)
        runs = success == len(states)
    elif rule == "all_done":
        becomes, runs = None, is_done
    elif rule == "one_success":
        becomes = ("skipped" if skipped == len(states) else "upstream_failed") if is_done else None
        runs = success > 0
    elif rule == "one_failed":
        becomes, runs = "skipped" if is_done else None, failed > 0
    else:
        becomes, runs = "upstream_failed" if failed else None, success + skipped == len(states)
    return "runs" if runs else becomes or "waits"


@each_way
def test_when(run: Run) -> None:
    cases, table = Cases(), read_table("when")
    assert [(row["the rule"], row["when"]) for row in table] == [
        (rule, when) for rule in ("holds", "is open", "can no longer hold") for when in WHEN
    ]
    for row in table:
        cases.add(
            f"{row['the rule']}, {row['when']}", row["the task"], [WANTED[row["the rule"]]], WHEN[row["when"]]
        )
    cases.check(run(cases.make_flow()))


@each_way
def test_precursors_that_a_rule_does_not_name_decide_nothing(run: Run) -> None:
    cases = Cases()
    rule = {"any": [{"task": "COMPLETED", "status": "COMPLETED"}]}
    cases.add("beside one that never ends", "starts", ["unfinished"], {"start_when": rule})
    cases.add("beside one that failed", "starts", ["FAILED"], {"start_when": rule})
    cases.check(run(cases.make_flow()))


@each_way
def test_a_precursor_that_is_to_be_tried_again_is_unfinished(run: Run) -> None:
    cases = Cases()
    retry = {"allow_failure": True, "retry": {"max_attempts": 2, "delay": "1h"}}
    cases.tasks.append({"key": "again", "task_type": "bad", "precursors": [], "cfg": retry})
    for rule in _NAMED_RULES:
        cases.add(rule, "waits", ["again"], {"start_when": rule})
    cases.check(run(cases.make_flow()))


def test_a_when_that_has_become_false_ends_a_retry() -> None:
    def fail(flow: Flow) -> None:
        flow.data["go"] = False
        raise ValueError

    when = {"value": "$ctx.flow.data.go", "op": "is_true"}
    task = {"key": "t", "task_type": "fail", "cfg": {"when": when, "retry": {"max_attempts": 3}}}
    flow = Flow.from_flow_spec({"data": {"go": True}, "tasks": [task]})
    FlowEngine(task_handlers={"fail": fail}).run_flow(flow)
    assert (flow.tasks["t"]["status"], flow.tasks["t"]["attempt"]) == ("SKIPPED", 1)
