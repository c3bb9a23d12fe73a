"""Bad input ends with a readable message, the right exit code, and nothing stored."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOOP = {"key": "a", "task_type": "noop"}
CYCLE = json.dumps({"tasks": [{**NOOP, "precursors": ["b"]}, {**NOOP, "key": "b", "precursors": ["a"]}]})

HANDLERS = """
from mc import task_handler

@task_handler("give_set")
def give_set():
    return {"found": {1, 2, 3}}

@task_handler("give_integer_keys")
def give_integer_keys(task):
    task["data"] = {1: "one"}
    task["status"] = "COMPLETED"

@task_handler("fail")
def fail():
    raise ValueError("the disk is \\x1b[31mred\\x1b[0m\\nand full")
"""


def stored_flows() -> int:
    """Return how many flows lie in the default database; 0 if there is none."""
    if not Path("mc.sqlite3").exists():
        return 0
    connection = sqlite3.connect("mc.sqlite3")
    try:
        found: int = connection.execute("SELECT count(*) FROM mc_flow").fetchone()[0]
        left: int = connection.execute("SELECT count(*) FROM mc_task").fetchone()[0]
    finally:
        connection.close()
    assert (found == 0) <= (left == 0)
    return found


def assert_readable(text: str) -> None:
    """Assert that a message is one for people: no traceback, no SQL, no end of it out of sight."""
    assert text
    assert "Traceback" not in text
    assert not re.search(r"\bSELECT\b|\bINSERT\b|sqlalche\.me", text)
    assert len(text) < 10_000


@pytest.fixture(params=["run", "submit"])
def command(request: pytest.FixtureRequest) -> str:
    """Each command that stores a spec."""
    return str(request.param)


class TestSpecs:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('{\n  "tasks": [,]\n}', "line 2, column 13"),
            ("", "no text"),
            ("[]", "list"),
            ('"spec"', "spec"),
            ("null", "null"),
            ('{"tasks": {}}', "/tasks"),
            ('{"data": {"x": NaN}}', "line 1, column 16"),
            ('{"data": {"x": 1e999}}', "too large"),
            ('{"data": {"x": 1, "x": 2}}', "twice|already"),
            ('{"tasks": [], "colour": 1}', "/colour"),
            ('{"tasks": [{"key": "a.b", "task_type": "noop"}]}', "/tasks/0/key"),
            ('{"tasks": [{"key": "a", "task_type": "noop", "precursors": ["b"]}]}', "/tasks/0/precursors/0"),
            ('{"tasks": [{"key": "a", "task_type": "noop"}, {"key": "a", "task_type": "noop"}]}', "MC103"),
            ('{"tasks": [{"key": "a", "task_type": "os:system"}]}', "not allowed"),
            ('{"tasks": [{"key": "a", "task_type": "poll"}]}', "--handlers MODULE"),
            ('{"params": {"$ref": "#"}}', "MC160"),
            (
                '{"tasks": [{"task_type": "call", "task_params": {"function": "os:system"}}]}',
                "/tasks/0/task_params/function .*: .*not allowed.*--handlers os",
            ),
            (CYCLE, r"a -> b -> a|b -> a -> b"),
            ("[" * 100_000, "nested"),
            ("\ufeff{", "line 1"),
        ],
    )
    def test_a_wrong_spec_is_refused_with_its_place(
        self, houston: Callable[..., Any], tmp_path: Path, command: str, text: str, said: str
    ) -> None:
        (tmp_path / "spec.json").write_text(text, encoding="utf-8")
        ended = houston(command, "spec.json")
        assert (ended.code, ended.out) == (2, "")
        assert_readable(ended.err)
        assert re.search(said, ended.err)
        assert stored_flows() == 0

    def test_a_missing_file_is_named(self, houston: Callable[..., Any], command: str) -> None:
        ended = houston(command, "missing.json")
        assert ended.code == 2
        assert "missing.json" in ended.err
        assert_readable(ended.err)

    def test_a_folder_is_not_a_spec(self, houston: Callable[..., Any], tmp_path: Path, command: str) -> None:
        ended = houston(command, tmp_path)
        assert ended.code == 2
        assert "folder" in ended.err

    def test_bytes_that_are_not_utf_8_are_placed(
        self, houston: Callable[..., Any], tmp_path: Path, command: str
    ) -> None:
        (tmp_path / "spec.json").write_bytes(b'{\n "label": "\xff"}')
        ended = houston(command, "spec.json")
        assert ended.code == 2
        assert "line 2, column 12" in ended.err

    def test_a_wrong_spec_is_json_where_json_is_asked_for(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: str
    ) -> None:
        ended = houston(command, "--json", write_spec([{**NOOP, "colour": 1}]))
        assert (ended.code, ended.out) == (2, "")
        assert ended.error["code"] == "invalid-spec"
        assert [problem["pointer"] for problem in ended.error["problems"]] == ["/tasks/0/colour"]

    def test_data_that_does_not_fit_the_params_is_refused(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: str
    ) -> None:
        params = {"type": "object", "properties": {"n": {"type": "integer"}}}
        ended = houston(command, write_spec([NOOP], params=params), "--data", "n=many")
        assert ended.code == 2
        assert "/data/n" in ended.err
        assert stored_flows() == 0

    @pytest.mark.parametrize("value", ["[1", '{"a": 1', '{"a": 1}}', '"open', "[1,]", " [", "{}{}"])
    def test_data_that_begins_as_json_and_is_none_is_refused(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: str, value: str
    ) -> None:
        ended = houston(command, write_spec([NOOP]), "--data", f"x={value}")
        assert ended.code == 2
        assert "column" in ended.err
        assert_readable(ended.err)
        assert stored_flows() == 0

    @pytest.mark.parametrize("value", ["", "yes", "1 apple", "a [1", "-", "O'Brien", "12:30", "nul"])
    def test_data_that_is_no_json_is_text(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], value: str
    ) -> None:
        spec = write_spec([NOOP], results={"x": "$ctx.flow.data.x"})
        assert houston("run", spec, "--data", f"x={value}", "--json").document["results"] == {"x": value}

    @pytest.mark.parametrize("data", ["novalue", "=1", "a.b=1", "a b=1"])
    def test_data_needs_a_plain_name(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: str, data: str
    ) -> None:
        ended = houston(command, write_spec([NOOP]), "--data", data)
        assert ended.code == 2
        assert "NAME=VALUE" in ended.err

    def test_a_huge_text_is_stored_or_refused_in_few_words(
        self, houston: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "spec.json").write_text(json.dumps({"tasks": [{**NOOP, "x" * 20_000_000: 1}]}))
        ended = houston("submit", "spec.json")
        assert ended.code == 2
        assert_readable(ended.err)

    def test_half_of_a_surrogate_pair_is_refused(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: str
    ) -> None:
        ended = houston(command, write_spec([NOOP], data={"x": "\ud800"}))
        assert ended.code == 2
        assert_readable(ended.err)
        assert stored_flows() == 0

    def test_a_key_that_the_store_cannot_hold_is_refused(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: str
    ) -> None:
        for key in ("", "k" * 256):
            ended = houston(command, write_spec([NOOP]), "--key", key)
            assert ended.code == 2
            assert f"not {len(key)}." in ended.err
        assert stored_flows() == 0


class TestTasks:
    @pytest.fixture
    def run_tasks(
        self, houston_process: Callable[..., Any], write_spec: Callable[..., Path], tmp_path: Path
    ) -> Callable[..., Any]:
        (tmp_path / "bad_handlers.py").write_text(HANDLERS)

        def run(*tasks: dict[str, Any], json_output: bool = False) -> Any:
            options = ["--json"] if json_output else []
            return houston_process("run", write_spec(tasks), "--handlers", "bad_handlers", *options)

        return run

    @pytest.mark.parametrize("task_type", ["give_set", "give_integer_keys"])
    def test_a_handler_that_leaves_no_json_fails_its_task(
        self, run_tasks: Callable[..., Any], task_type: str
    ) -> None:
        ended = run_tasks({"key": "a", "task_type": task_type}, json_output=True)
        assert ended.code == 1
        assert ended.document["status"] == "FAILED"
        (error,) = ended.document["errors"]
        assert (error["task"], error["type"]) == ("a", "NotJsonError")
        assert "/data" in error["message"]

    def test_control_characters_of_a_message_do_not_reach_the_terminal(
        self, run_tasks: Callable[..., Any]
    ) -> None:
        ended = run_tasks({"key": "a", "task_type": "fail"})
        assert ended.code == 1
        assert "\x1b" not in ended.out + ended.err
        assert "ValueError: the disk is \\u001b[31mred\\u001b[0m\\nand full" in ended.out


class TestStores:
    @pytest.fixture
    def commands(self, write_spec: Callable[..., Path]) -> list[list[str]]:
        spec = str(write_spec([NOOP]))
        return [["run", spec], ["submit", spec], ["tick"], ["list"], ["show", "k"], ["export", "k"]]

    @pytest.mark.parametrize("url", ["sqlite:///no/such/folder/mc.sqlite3", "sqlite:///.", "sqlite:///text"])
    def test_a_database_that_cannot_be_opened_ends_every_command_with_3(
        self, houston: Callable[..., Any], commands: list[list[str]], tmp_path: Path, url: str
    ) -> None:
        (tmp_path / "text").write_text("this is no database, but a text of some length\n" * 100)
        for command in commands:
            ended = houston(*command, "--db", url)
            assert (ended.code, ended.out) == (3, ""), command
            assert_readable(ended.err)
        assert (tmp_path / "text").read_text().startswith("this is no database")

    def test_the_error_is_json_where_json_is_asked_for(self, houston: Callable[..., Any]) -> None:
        ended = houston("tick", "--json", "--db", "sqlite:///no/such/folder/mc.sqlite3")
        assert (ended.code, ended.out) == (3, "")
        assert ended.error["code"] == "store-unreachable"

    @pytest.mark.parametrize("url", ["gopher://x", "postgresql://host:port/x"])
    def test_a_url_of_another_kind_is_refused(self, houston: Callable[..., Any], url: str) -> None:
        ended = houston("list", "--db", url)
        assert ended.code == 2
        assert_readable(ended.err)

    @pytest.mark.parametrize("url", ["mc.sqlite3", "://", "foo", "/var/lib/mc.sqlite3"])
    @pytest.mark.parametrize("by", ["--db", "MC_DB_URL"])
    def test_what_is_no_url_is_bad_usage(
        self,
        houston: Callable[..., Any],
        commands: list[list[str]],
        monkeypatch: pytest.MonkeyPatch,
        url: str,
        by: str,
    ) -> None:
        if by == "MC_DB_URL":
            monkeypatch.setenv("MC_DB_URL", url)
        for command in commands:
            ended = houston(*command, *(["--db", url] if by == "--db" else []))
            assert (ended.code, ended.out) == (2, ""), command
            assert by in ended.err
            assert "sqlite:///mc.sqlite3" in ended.err
        assert [path.name for path in Path().iterdir()] == ["spec.json"]

    @pytest.mark.parametrize(
        "command",
        [["list"], ["list", "--json"], ["show", "k"], ["export", "k"], ["history", "k"], ["explain", "k"]],
    )
    def test_reading_does_not_make_a_database(
        self, houston: Callable[..., Any], tmp_path: Path, command: list[str]
    ) -> None:
        for options in ([], ["--db", "sqlite:///typo.sqlite3"]):
            ended = houston(*command, *options)
            assert (ended.code, ended.out) == (3, "")
            assert "There is no database" in ended.err
            assert "houston run" in ended.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "-1"])
    def test_seconds_are_a_number_that_a_clock_can_reach(
        self, houston: Callable[..., Any], commands: list[list[str]], seconds: str
    ) -> None:
        run, _, tick, *_ = commands
        for command in (run, tick):
            for option in ("--max-seconds", "--lease-seconds"):
                ended = houston(*command, option, seconds)
                assert (ended.code, ended.out) == (2, "")
                assert option in ended.err
        assert not Path("mc.sqlite3").exists()

    def test_rows_that_were_tampered_with_are_told_in_whole_sentences(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        houston("submit", write_spec([NOOP, {**NOOP, "key": "b"}], key="k"))
        with sqlite3.connect("mc.sqlite3") as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("DELETE FROM mc_task WHERE key = 'a'")
        connection.close()
        ended = houston("show", "k")
        assert (ended.code, ended.out) == (3, "")
        assert "Add that task first. They were changed by something else" in ended.err

    def test_a_handler_module_that_breaks_is_told_in_whole_sentences(
        self, houston: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "breaking_tasks.py").write_text("raise ValueError('It breaks.')")
        monkeypatch.syspath_prepend(tmp_path)
        ended = houston("submit", "no_matter.json", "--handlers", "breaking_tasks")
        assert ended.code == 2
        assert f"ValueError: It breaks ({tmp_path}/breaking_tasks.py, line 1).\n" in ended.err

    def test_an_unknown_key_is_named(self, houston: Callable[..., Any], commands: list[list[str]]) -> None:
        houston(*commands[1])
        for command in ("show", "export"):
            ended = houston(command, "no-such-flow")
            assert (ended.code, ended.out) == (2, "")
            assert "no-such-flow" in ended.err
            assert_readable(ended.err)

    @pytest.mark.parametrize(
        "command",
        [
            *(["show"], ["export"], ["history"], ["explain"], ["cancel"], ["pause"], ["resume"], ["retry"]),
            *(["results"], ["delete"]),
            *(["rerun"], ["signal", "go"], ["approve", "a"], ["reject", "a"], ["skip", "a"]),
            *(["set", "--data", "x=1"], ["migrate", "spec.json"]),
        ],
        ids=lambda command: command[0],
    )
    def test_the_nearest_keys_are_told(
        self, houston: Callable[..., Any], commands: list[list[str]], command: list[str]
    ) -> None:
        for key in ("order:1001", "order:1002", "invoice:7"):
            houston(*commands[1], "--key", key)
        name, *rest = command
        ended = houston(name, "order:101", *rest, "--json")
        assert ended.code == 2
        assert "Did you mean 'order:1001' or 'order:1002'?" in ended.error["message"]
        assert ended.error["suggestions"] == ["order:1001", "order:1002"]
        assert "Did you mean" not in houston(name, "quite-another", *rest).err

    @pytest.mark.parametrize(
        "command",
        [
            *(
                ["skip", "k", "publsh"],
                ["retry", "k", "--task", "publsh"],
                ["set", "k", "publsh", "--data", "x=1"],
            ),
            *(["history", "k", "--task", "publsh"], ["resource", "show", "publsh"]),
        ],
        ids=lambda command: command[0],
    )
    def test_the_nearest_tasks_and_resources_are_told(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path], command: list[str]
    ) -> None:
        houston("submit", write_spec([{**NOOP, "key": "publish"}], key="k"))
        houston("resource", "set", "publish", "--slots", "1")
        ended = houston(*command)
        assert ended.code == 2
        assert "Did you mean 'publish'?" in ended.err

    @pytest.mark.parametrize(
        "command", [["list", "--limit"], ["tick", "--max-flows"], ["explain", "k", "--tasks"]]
    )
    @pytest.mark.parametrize("number", ["9223372036854775808", "9" * 5_000, "1000000001", "-1", "1.5", "x"])
    def test_a_count_has_bounds(
        self, houston: Callable[..., Any], commands: list[list[str]], command: list[str], number: str
    ) -> None:
        houston(*commands[1], "--key", "k")
        ended = houston(*command, number)
        assert (ended.code, ended.out) == (2, "")
        assert command[-1] in ended.err
        assert_readable(ended.err)

    def test_an_export_of_an_unknown_key_leaves_no_file(
        self, houston: Callable[..., Any], commands: list[list[str]]
    ) -> None:
        houston(*commands[1])
        assert houston("export", "no-such-flow", "--output", "flow.json").code == 2
        assert not list(Path().glob("*flow.json*"))


class TestFlowDicts:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "line 1"),
            ("[]", "mapping"),
            ('{"schema_version": 99}', "schema_version"),
            ('{"colour": 1}', "colour"),
            ('{"status": "DONE"}', "DONE"),
            ('{"graph": {"tasks": {"a": 1}}}', "/graph/tasks/a"),
            ('{"graph": {"tasks": {}, "edges": [{"src_key": "a", "dest_key": "b"}]}}', "'a'"),
        ],
    )
    def test_a_wrong_flow_dict_is_refused(
        self, houston: Callable[..., Any], tmp_path: Path, text: str, said: str
    ) -> None:
        (tmp_path / "flow.json").write_text(text)
        ended = houston("import", "flow.json")
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
        assert_readable(ended.err)
        assert stored_flows() == 0


class TestStreams:
    def run(self, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = f'exec "$0" -m mc "$@" {redirection}'
        return subprocess.run(
            ["sh", "-c", script, sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )

    def test_a_full_disk_is_told(self) -> None:
        done = self.run("> /dev/full", "schema")
        assert done.returncode == 2
        assert done.stderr.startswith("houston: No space left on device.")
        assert done.stderr.count("\n") == 1

    def test_a_closed_output_is_no_error(self) -> None:
        done = self.run(">&-", "schema")
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_reader_that_goes_away_is_no_matter_for_words(self) -> None:
        done = self.run("| head -c 1", "schema")
        assert done.stderr == ""


class TestBugs:
    @pytest.fixture(autouse=True)
    def _broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise ZeroDivisionError("something that nobody thought of")

        monkeypatch.setattr("mc.spec.schema.flow_spec_schema.load_flow_spec_schema", fail)

    def test_an_unexpected_error_is_called_a_bug_in_one_paragraph(self, houston: Callable[..., Any]) -> None:
        ended = houston("schema")
        assert (ended.code, ended.out) == (70, "")
        assert "bug" in ended.err
        assert "something that nobody thought of" in ended.err
        assert ended.err.count("\n") == 1

    def test_its_traceback_is_shown_on_request(self, houston: Callable[..., Any]) -> None:
        ended = houston("schema", "--debug")
        assert ended.code == 70
        assert "Traceback (most recent call last)" in ended.err

    def test_it_is_json_where_json_is_asked_for(self, houston: Callable[..., Any]) -> None:
        assert houston("schema", "--json").error["code"] == "bug"
