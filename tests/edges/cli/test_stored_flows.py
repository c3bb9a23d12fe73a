"""`submit`, `tick`, `list`, `show`, `export` and `import`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

NOOP = {"key": "a", "task_type": "noop"}
AFTER = {"key": "b", "task_type": "noop"}
LATER = {"key": "later", "task_type": "wait", "task_params": {"duration": "1h"}}
WRONG = {
    "key": "wrong",
    "task_type": "wire",
    "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
}


@pytest.fixture
def submit(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., str]:
    """Store a flow with these tasks and return its key."""

    def store(*tasks: dict[str, Any], **attributes: Any) -> str:
        ended = houston("submit", write_spec(tasks, **attributes))
        assert ended.code == 0, ended.err
        key: str = ended.out.strip()
        return key

    return store


class TestSubmit:
    def test_the_key_is_printed_and_nothing_is_run(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        ended = houston("submit", write_spec([NOOP], key="k"))
        assert (ended.code, ended.out, ended.err) == (0, "k\n", "")
        assert houston("list", "--json").document[0]["tasks"] == {"PENDING": 1}

    def test_a_key_is_made_where_none_is_given(self, submit: Callable[..., str]) -> None:
        assert submit(NOOP).startswith("flow:")

    def test_a_repetition_changes_nothing(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        command = ["submit", write_spec([NOOP]), "--key", "k", "--data", "x=1", "--json"]
        assert houston(*command).document == {"key": "k", "created": True}
        houston("tick")
        before = houston("export", "k").out
        again = houston(*command)
        assert (again.code, again.document) == (0, {"key": "k", "created": False})
        assert houston("export", "k").out == before

    @pytest.mark.parametrize("other", ["spec", "data"])
    def test_the_same_key_with_something_else_is_refused(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], other: str
    ) -> None:
        houston("submit", write_spec([NOOP]), "--key", "k", "--data", "x=1")
        before = houston("export", "k").out
        tasks, data = ([NOOP, AFTER], "x=1") if other == "spec" else ([NOOP], "x=2")
        ended = houston("submit", write_spec(tasks), "--key", "k", "--data", data, "--json")
        assert (ended.code, ended.out) == (2, "")
        assert ended.error["code"] == "flow-exists"
        assert ended.error["key"] == "k"
        assert houston("export", "k").out == before


class TestTick:
    def test_an_idle_tick_prints_nothing(self, houston: Callable[..., Any]) -> None:
        ended = houston("tick")
        assert (ended.code, ended.out, ended.err) == (0, "", "")

    def test_an_idle_tick_says_so_on_request(self, houston: Callable[..., Any]) -> None:
        assert houston("tick", "--verbose").out == "Nothing to do.\n"

    def test_the_report_is_one_line_of_json(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, AFTER)
        submit(LATER)
        ended = houston("tick", "--json")
        assert ended.out.count("\n") == 1
        report = ended.document
        assert (report["claimed"], report["completed"], report["failed"], report["lost"]) == (2, 1, 0, 0)
        assert (report["waiting"], report["tasks"]) == (1, 3)
        wait = datetime.fromisoformat(report["next_tick_at"]) - datetime.now().astimezone()
        assert timedelta(minutes=50) < wait <= timedelta(hours=1)
        assert report["seconds"] >= 0

    def test_people_get_one_line(self, houston: Callable[..., Any], submit: Callable[..., str]) -> None:
        submit(NOOP, AFTER)
        ended = houston("tick")
        assert ended.out.startswith("1 flow, 2 task calls in ")
        assert ended.out.endswith("; 1 completed\n")

    def test_a_failed_flow_ends_the_tick_with_1_and_the_others_go_on(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(WRONG, key="bad")
        submit(NOOP, key="good")
        ended = houston("tick", "--json")
        assert ended.code == 1
        assert (ended.document["failed"], ended.document["completed"]) == (1, 1)

    def test_the_number_of_flows_can_be_limited(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        for number in range(3):
            submit(NOOP, key=f"k{number}")
        assert houston("tick", "--max-flows", "2", "--json").document["completed"] == 2
        assert houston("tick", "--json").document["completed"] == 1

    def test_a_lease_has_a_length(
        self, houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, submit: Callable[..., str]
    ) -> None:
        submit(NOOP)
        assert houston("tick", "--lease-seconds", "0").code == 2
        monkeypatch.setenv("MC_LEASE_SECONDS", "long")
        assert "MC_LEASE_SECONDS" in houston("tick").err
        monkeypatch.setenv("MC_LEASE_SECONDS", "5")
        assert houston("tick", "--json").document["completed"] == 1


class TestList:
    def test_flows_are_listed_newest_first(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        for key in ("one", "two"):
            submit(NOOP, key=key, label=f"label of {key}")
        listed = houston("list", "--json").document
        assert [flow["key"] for flow in listed] == ["two", "one"]
        times = {"created_at", "modified_at", "finished_at", "seconds"}
        assert set(listed[0]) == {"key", "label", "status", "tasks", "calls"} | times
        assert (listed[0]["label"], listed[0]["status"]) == ("label of two", "PENDING")
        assert datetime.fromisoformat(listed[0]["created_at"]).utcoffset() == timedelta(0)

    def test_people_get_aligned_columns(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, key="k", label="a\nlabel")
        submit(NOOP, key="longer")
        heading, *rows = houston("list").out.splitlines()
        assert heading.split() == ["KEY", "STATUS", "TASKS", "CREATED", "MODIFIED", "DURATION", "LABEL"]
        assert [row.split()[:2] for row in rows] == [["longer", "PENDING"], ["k", "PENDING"]]
        assert {row.index("PENDING") for row in rows} == {heading.index("STATUS")}
        assert rows[1].endswith("  a\\nlabel")

    def test_an_empty_database_lists_nothing(self, houston: Callable[..., Any]) -> None:
        houston("tick")
        assert (houston("list").out, houston("list", "--json").out) == ("", "[]\n")

    @pytest.mark.parametrize(
        ("options", "keys"),
        [
            (["--status", "COMPLETED"], ["done"]),
            (["--status", "pending"], ["new"]),
            (["--label", "mine"], ["done"]),
            (["--label", "other"], []),
            (["--limit", "1"], ["new"]),
        ],
    )
    def test_flows_can_be_chosen(
        self, houston: Callable[..., Any], submit: Callable[..., str], options: list[str], keys: list[str]
    ) -> None:
        submit(NOOP, key="done", label="mine")
        houston("tick")
        submit(NOOP, key="new")
        assert [flow["key"] for flow in houston("list", "--json", *options).document] == keys

    def test_a_cut_list_says_so(self, houston: Callable[..., Any], submit: Callable[..., str]) -> None:
        submit(NOOP)
        submit(NOOP)
        assert "--limit" in houston("list", "--limit", "1").err
        assert houston("list", "--limit", "2").err == ""

    def test_an_unknown_status_is_bad_usage(self, houston: Callable[..., Any]) -> None:
        assert houston("list", "--status", "DONE").code == 2


class TestShow:
    def test_people_see_the_flow_and_its_tasks(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, WRONG, AFTER, key="k", label="mine", description="a test")
        houston("tick")
        lines = houston("show", "k").out.splitlines()
        assert lines[:4] == ["flow      k", "label     mine", "about     a test", "status    FAILED"]
        assert "1 COMPLETED" in lines[4]
        assert "1 FAILED" in lines[4]
        rows = {row.split()[0]: row.split()[1:] for row in lines[lines.index("") + 2 :]}
        assert rows["a"] == ["noop", "COMPLETED", "1", "0s"]
        assert rows["wrong"][:3] == ["wire", "FAILED", "1"]
        assert "WiringError:" in rows["wrong"]

    def test_the_tasks_can_be_chosen_by_status(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, WRONG, AFTER, key="k")
        houston("tick")

        def listed(*options: str) -> list[str]:
            lines = houston("show", "k", *options).out.splitlines()
            return [row.split()[0] for row in lines[lines.index("") + 2 :]] if "" in lines else []

        assert listed("--status", "FAILED") == ["wrong"]
        assert listed("--status", "failed", "--status", "COMPLETED") == ["a", "wrong"]
        assert listed("--status", "RUNNING") == []
        assert houston("show", "k", "--status", "LATE").code == 2
        assert houston("show", "k", "--status", "FAILED", "--json").code == 2

    def test_a_waiting_task_shows_its_time(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(LATER, key="k")
        houston("tick")
        assert " until 20" in houston("show", "k").out.splitlines()[-1]

    def test_a_skipped_task_shows_for_what_or_by_whom(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        after = [
            {**NOOP, "key": key, "precursors": [before]} for key, before in (("b", WRONG["key"]), ("c", "b"))
        ]
        key = submit(WRONG, *after, {**NOOP, "key": "d", "precursors": []}, cfg={"fail_fast": False})
        houston("skip", key, "d", "--by", "ann", "--reason", "is up")
        houston("tick")
        notes = [
            line.split("SKIPPED")[1].strip()
            for line in houston("show", key).out.splitlines()
            if "  SKIPPED" in line
        ]
        assert notes == [f"skipped for {WRONG['key']}, which is FAILED"] * 2 + ["skipped by ann: is up"]

    def test_json_is_the_flow_dict(self, houston: Callable[..., Any], submit: Callable[..., str]) -> None:
        submit(NOOP, AFTER, key="k")
        shown = houston("show", "k", "--json").document
        assert (shown["schema_version"], shown["key"]) == (1, "k")
        assert (shown.pop("seconds"), shown.pop("task_seconds")) == (None, {"a": None, "b": None})
        assert shown.pop("calls") == []
        assert shown == houston("export", "k").document

    @pytest.mark.parametrize(
        ("form", "begin"),
        [("text", "a [PENDING] -> b"), ("mermaid", "flowchart TD"), ("dot", 'digraph "k" {')],
    )
    def test_the_graph_is_drawn(
        self, houston: Callable[..., Any], submit: Callable[..., str], form: str, begin: str
    ) -> None:
        submit(NOOP, AFTER, key="k")
        drawing = houston("show", "k", "--graph", form).out
        assert drawing.splitlines()[0] == begin
        document = houston("show", "k", "--graph", form, "--json").document
        assert document == {"key": "k", "format": form, "graph": drawing.rstrip("\n")}


class TestExportAndImport:
    def test_a_flow_moves_to_another_database_and_goes_on(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, LATER, AFTER, key="k", data={"x": [1, {"y": None}]})
        houston("tick")
        assert houston("export", "k", "--output", "flow.json").code == 0
        there = ("--db", "sqlite:///there.sqlite3")
        assert houston("import", "flow.json", *there).out == "k\n"
        assert houston("export", "k", *there).document == houston("export", "k").document
        assert houston("show", "k", *there).code == 0

    def test_an_imported_flow_runs_to_its_end(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, AFTER, key="k")
        houston("export", "k", "--output", "flow.json")
        assert houston("import", "flow.json", "--key", "copy", "--json").document == {"key": "copy"}
        houston("tick")
        assert {flow["key"]: flow["status"] for flow in houston("list", "--json").document} == {
            "k": "COMPLETED",
            "copy": "COMPLETED",
        }

    def test_a_key_that_is_taken_is_refused(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, key="k")
        houston("export", "k", "--output", "flow.json")
        ended = houston("import", "flow.json", "--json")
        assert (ended.code, ended.error["code"]) == (2, "flow-exists")

    def test_a_flow_is_imported_from_stdin(
        self, houston: Callable[..., Any], houston_process: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, key="k")
        exported = houston("export", "k").out
        assert houston_process("import", "-", "--key", "copy", stdin=exported).out == "copy\n"

    def test_an_export_replaces_the_file_as_a_whole(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, key="k")
        Path("flow.json").write_text("old")
        ended = houston("export", "k", "--output", "flow.json", "--json")
        assert ended.document == {"key": "k", "file": "flow.json"}
        assert json.loads(Path("flow.json").read_text())["key"] == "k"
        assert [path.name for path in Path().glob(".*.tmp")] == []

    def test_a_file_that_cannot_be_written_is_named(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, key="k")
        ended = houston("export", "k", "--output", "no/such/folder/flow.json", "--json")
        assert (ended.code, ended.error["code"]) == (2, "file-error")
        assert ended.error["message"].startswith("no/such/folder/flow.json: No such file or directory.")

    def test_a_file_below_a_file_is_named_too(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        submit(NOOP, key="k")
        ended = houston("export", "k", "--output", "spec.json/flow.json")
        assert ended.code == 2
        assert ended.err.startswith("houston: spec.json/flow.json: Not a directory.")

    @pytest.mark.parametrize("text", ["naïve €", "\u202e", "\x00", '"\\'])
    def test_any_text_survives(
        self, houston_process: Callable[..., Any], write_spec: Callable[..., Path], text: str
    ) -> None:
        assert houston_process("submit", write_spec([NOOP], key="k", data={"x": text})).code == 0
        houston_process("export", "k", "--output", "flow.json")
        assert houston_process("import", "flow.json", "--key", "copy").code == 0
        assert houston_process("export", "copy").document["data"] == {"x": text}


class TestShowInside:
    def test_tasks_inside_of_others_are_listed_by_path(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        inner = {"key": "outer", "task_type": "inline_flow", "task_params": {"flow_spec": {"tasks": [NOOP]}}}
        submit(inner, LATER, key="k")
        houston("tick")
        rows = [line.split()[:3] for line in houston("show", "k").out.splitlines()[-3:]]
        assert [(row[0], row[2]) for row in rows] == [
            ("outer", "COMPLETED"),
            ("outer/a", "COMPLETED"),
            ("later", "WAITING"),
        ]
        assert houston("show", "k", "--task", "outer/a", "--json").document["key"] == "a"
        history = houston("history", "k", "--task", "outer/a").out
        assert "RUNNING -> COMPLETED" in history

    def test_of_many_it_is_told_how_many_have_which_status(
        self, houston: Callable[..., Any], submit: Callable[..., str]
    ) -> None:
        params = {"items": list(range(21)), "mapping_params": {"skeleton": {"task_type": "noop"}}}
        submit({"key": "each", "task_type": "spread", "task_params": params}, key="k")
        houston("tick")
        assert houston("show", "k").out.splitlines()[-1].split()[:3] == ["each/...", "21", "COMPLETED;"]
        listed = houston("show", "k", "--status", "COMPLETED").out.splitlines()
        assert [line.split()[0] for line in listed if line.startswith("each/")] == [
            f"each/item_{n}" for n in range(21)
        ]
        assert "21 COMPLETED" in houston("show", "k", "--task", "each").out
