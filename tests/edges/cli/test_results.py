"""`houston results`: the results of a flow, and a table of the items of a task."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc.cli.exit_codes import ExitCode
from mc.cli.printing.csv_output import columns_of, flatten

HANDLERS = ("--handlers", "own_steps")
STEPS = """
from mc import task_handler


@task_handler("step")
def step(params):
    value = params["value"]
    if value == "wrong":
        raise ValueError("=1+1, says the item")
    return {"of": value, "deep": {"list": [value, {"x": None}], "n": -1.5, "none": None, "yes": True}}
"""


@pytest.fixture
def run(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """Run a flow `f` with a spread over items, and return the command."""
    Path("own_steps.py").write_text(STEPS)

    def run(items: Any, **attributes: Any) -> Callable[..., Any]:
        skeleton = {"task_type": "step", "cfg": {"allow_failure": True}}
        wirings = ["ctx.item.value => ctx.skeleton.task_params.value"]
        params = {"items": items, "mapping_params": {"skeleton": skeleton, "wirings": wirings}}
        spec = write_spec([{"key": "sweep", "task_type": "spread", "task_params": params}], **attributes)
        houston("run", spec, "--key", "f", *HANDLERS)
        return houston

    return run


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


class TestItems:
    def test_csv_has_a_row_for_each_item_and_a_column_for_each_nested_value(
        self, run: Callable[..., Any]
    ) -> None:
        ended = run([{"a": 1, "b": {"c": "x"}}, "wrong", 3])("results", "f", "--task", "sweep", "--csv")
        assert (ended.code, ended.err) == (0, "")
        header, *_ = ended.out.splitlines()
        assert header == (
            "task,key,status,item.a,item.b.c,item,params.value.a,params.value.b.c,params.value,"
            "data.of.a,data.of.b.c,data.deep.list,data.deep.n,data.deep.none,data.deep.yes,data.of,"
            "error,attempt,seconds"
        )
        first, second, third = read(ended.out)
        assert (first["item.b.c"], first["data.of.a"], first["item"]) == ("x", "1", "")
        assert first["data.deep.list"] == '[{"a": 1, "b": {"c": "x"}}, {"x": null}]'
        assert (first["data.deep.n"], first["data.deep.none"], first["data.deep.yes"]) == ("-1.5", "", "true")
        assert (second["status"], second["error"], second["data.of"]) == (
            "FAILED",
            "ValueError: =1+1, says the item",
            "",
        )
        assert (third["task"], third["key"], third["item"], third["data.of"]) == ("item_2", "2", "3", "3")

    @pytest.mark.parametrize(
        "nasty", ["a,b", 'say "no"', "two\nlines", "\r", "", " ", "é\N{CAT FACE}", "\x1b[2J", "a;b\t"]
    )
    def test_any_text_survives_csv(self, run: Callable[..., Any], nasty: str) -> None:
        ended = run({f"k{nasty}": nasty})("results", "f", "--task", "sweep", "--csv", "--raw")
        (row,) = read(ended.out)
        assert (row["key"], row["item"], row["params.value"], row["data.of"]) == (f"k{nasty}", *[nasty] * 3)

    def test_a_spreadsheet_finds_no_formula_unless_it_is_asked_for(self, run: Callable[..., Any]) -> None:
        formulas = ["=cmd|'/c calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"]
        results = run({formula: {formula: formula} for formula in formulas})
        safe = list(
            csv.reader(io.StringIO(results("results", "f", "--task", "sweep", "--csv").out, newline=""))
        )
        assert [cell for row in safe for cell in row if cell[:1] in tuple("=+-@\t\r") and cell] == [
            "-1.5"
        ] * 6
        assert [row[1] for row in safe[1:]] == [f"'{formula}" for formula in formulas]
        raw = read(results("results", "f", "--task", "sweep", "--csv", "--raw").out)
        assert [row["key"] for row in raw] == formulas

    def test_columns_keep_their_order_whatever_the_first_item_lacks(self, run: Callable[..., Any]) -> None:
        ended = run([None, "wrong", {"a": 1}])("results", "f", "--task", "sweep", "--csv")
        header = ended.out.splitlines()[0].split(",")
        begun = list(dict.fromkeys(column.partition(".")[0] for column in header))
        assert begun == ["task", "key", "status", "item", "params", "data", "error", "attempt", "seconds"]

    def test_names_in_headings_are_texts(
        self, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        houston = run([{"[/b]": 2, "[red]x": "\x1b[2J", "\x1b]0;title\x07": 1}])
        plain = houston("results", "f", "--task", "sweep").out
        assert "ITEM.[/b]" in plain
        assert "\x1b" not in plain
        monkeypatch.setattr("mc.cli.printing.output.is_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", "500")
        shown = houston("results", "f", "--task", "sweep").out
        assert "ITEM.[/b]" in shown
        assert "ITEM.[red]x" in shown
        assert "\x1b]0" not in shown

    def test_programs_get_the_items_as_they_are(self, run: Callable[..., Any]) -> None:
        document = run({"a": "x", "b": "wrong"})("results", "f", "--task", "sweep", "--json").document
        assert (document["key"], document["task"], document["status"]) == ("f", "sweep", "COMPLETED")
        first, second = document["items"]
        assert (first["key"], first["params"], first["data"]["of"]) == ("a", {"value": "x"}, "x")
        assert second["error"] == {"type": "ValueError", "message": "=1+1, says the item"}

    def test_people_get_a_table_of_the_first_hundred(self, run: Callable[..., Any]) -> None:
        houston = run(list(range(102)))
        ended = houston("results", "f", "--task", "sweep")
        heading, *rows = ended.out.splitlines()
        assert heading.split()[:5] == ["TASK", "KEY", "STATUS", "ITEM", "PARAMS.value"]
        assert heading.split()[-2:] == ["ATTEMPT", "DURATION"]
        assert all(re.fullmatch(r"[0-9.]+m?s", row.split()[-1]) for row in rows)
        assert (len(rows), ended.err) == (100, "These are 100 of 102 items; raise --limit.\n")
        assert houston("results", "f", "--task", "sweep", "--limit", "102").err == ""
        assert len(read(houston("results", "f", "--task", "sweep", "--csv").out)) == 102
        assert (
            len(houston("results", "f", "--task", "sweep", "--json", "--limit", "3").document["items"]) == 3
        )

    def test_items_are_chosen_by_status(self, run: Callable[..., Any]) -> None:
        houston = run(["x", "wrong"])
        chosen = ("results", "f", "--task", "sweep", "--csv", "--status")
        assert [row["key"] for row in read(houston(*chosen, "failed").out)] == ["1"]
        assert [row["key"] for row in read(houston(*chosen, "FAILED", "--status", "COMPLETED").out)] == [
            "0",
            "1",
        ]
        ended = houston("results", "f", "--task", "sweep", "--status", "SKIPPED")
        assert (ended.code, ended.out) == (0, "")
        assert ended.err == "sweep of flow f is COMPLETED; there are no such items in it.\n"


class TestFlows:
    def test_results_are_a_table_of_names_and_values(self, run: Callable[..., Any]) -> None:
        houston = run(
            ["x"], data={"n": 3}, results={"n": "$ctx.flow.data.n", "all": "$ctx.flow.tasks.sweep.data"}
        )
        rows = [line.split(maxsplit=1) for line in houston("results", "f").out.splitlines()]
        assert rows[:2] == [["NAME", "VALUE"], ["n", "3"]]
        assert rows[2][0] == "all.results"
        assert read(houston("results", "f", "--csv").out)[0] == {"name": "n", "value": "3"}
        document = houston("results", "f", "--json").document
        assert (document["key"], document["status"], document["results"]["n"]) == ("f", "COMPLETED", 3)

    def test_the_exit_code_says_whether_they_are_there(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        Path("own_steps.py").write_text(STEPS)
        step = {"key": "s", "task_type": "step", "task_params": {"value": "wrong"}}
        houston(
            "submit",
            write_spec([step], data={"n": 1}, results={"x": "$ctx.flow.data.n"}),
            "--key",
            "f",
            *HANDLERS,
        )
        for status, code in (("PENDING", ExitCode.UNFINISHED), ("FAILED", ExitCode.FLOW_FAILED)):
            ended = houston("results", "f")
            assert (ended.code, ended.out) == (code, "")
            assert ended.err == f"flow f is {status}; results are there when it is COMPLETED.\n"
            assert houston("results", "f", "--json").document == {
                "key": "f",
                "status": status,
                "results": None,
            }
            houston("tick", *HANDLERS)
        houston("run", write_spec([]), "--key", "g")
        ended = houston("results", "g", "--csv")
        assert (ended.code, ended.out) == (0, "name,value\n")
        assert ended.err == "flow g is COMPLETED; its spec declares no results.\n"


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["g"], "No flow with the key 'g'"),
            (["f", "--task", "swep"], "Did you mean 'sweep'?"),
            (["f", "--csv", "--json"], "choose one"),
            (["f", "--raw"], "add --csv"),
            (["f", "--limit", "3"], "name a task with --task"),
            (["f", "--status", "FAILED"], "name a task with --task"),
            (["f", "--task", "sweep", "--status", "FALED"], "Did you mean FAILED?"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_told_is_bad_input(
        self, run: Callable[..., Any], arguments: list[str], said: str
    ) -> None:
        ended = run(["x"])("results", *arguments)
        assert (ended.code, ended.out) == (ExitCode.BAD_INPUT, "")
        assert said in ended.err


def test_no_two_values_share_a_column() -> None:
    value = {"a": {"b": 1}, "a.b": 2, 'a"': {"": 3}, "c": {}, "d": []}
    columns = flatten(value, "data")
    assert list(columns.values()) == [1, 2, 3, {}, []]
    assert len(columns) == 5
    assert columns["data.a.b"] == 1
    assert columns['data."a.b"'] == 2


def test_columns_that_begin_alike_stand_together() -> None:
    rows = [{"key": 1, "data.x": 1, "error": None}, {"key": 2, "data.y": 1, "data.x": 2, "error": None}]
    assert columns_of(rows, ["key"]) == ["key", "data.x", "data.y", "error"]
