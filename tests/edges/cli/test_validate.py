from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOOP = {"key": "a", "task_type": "noop"}


def test_a_valid_spec_ends_with_0(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    ended = houston("validate", write_spec([NOOP]).name)
    assert (ended.code, ended.out, ended.err) == (0, "spec.json: valid\n", "")


def test_all_problems_of_all_files_are_printed_one_a_line(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    write_spec([{**NOOP, "colour": 1, "precursors": ["b"]}], "one.json")
    write_spec([{**NOOP, "task_type": "nop"}], "two.json")
    write_spec([NOOP], "three.json")
    ended = houston("validate", "one.json", "two.json", "three.json")
    assert ended.code == 2
    *lines, summary = ended.out.splitlines()
    places = [line.split(" ")[0] for line in lines]
    assert sorted(places) == [
        "one.json:1:46:",
        "one.json:1:74:",
        "three.json:",
        "two.json:1:25:",
    ]
    assert "[MC111 unknown-task-type] Did you mean 'noop'?" in ended.out
    assert summary == "3 problems in 2 of 3 specs"


def test_json_holds_each_problem_with_its_file(
    houston: Callable[..., Any], write_spec: Callable[..., Path]
) -> None:
    write_spec([{**NOOP, "task_type": "nop"}])
    ended = houston("validate", "--json", "spec.json", "missing.json")
    assert ended.code == 2
    assert ended.document["valid"] is False
    first, second = ended.document["problems"]
    assert set(first) == {
        *("code", "pointer", "message", "found", "expected", "suggestion", "line", "column", "file")
    }
    assert (first["file"], first["pointer"], first["suggestion"]) == (
        "spec.json",
        "/tasks/0/task_type",
        "noop",
    )
    assert (second["file"], second["code"]) == ("missing.json", "MC020 unreadable-file")


def test_json_of_a_valid_spec(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    ended = houston("--json", "validate", write_spec([NOOP]))
    assert (ended.code, ended.document) == (0, {"valid": True, "problems": []})


def test_a_spec_is_read_from_stdin(houston_process: Callable[..., Any]) -> None:
    assert houston_process("validate", "-", stdin=json.dumps({"tasks": [NOOP]})).out == "-: valid\n"


def test_broken_json_is_placed_by_line_and_column(houston: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{\n  "tasks": [,]\n}\n')
    ended = houston("validate", "broken.json")
    assert ended.code == 2
    assert ended.out.startswith("broken.json:2:13: JSON has no comma after the last item, ")
    assert houston("run", "broken.json").err.startswith("houston: broken.json, line 2, column 13: ")


def test_a_missing_file_is_named_as_it_is_written(houston: Callable[..., Any]) -> None:
    (problem,) = houston("validate", "--json", "no such.json").document["problems"]
    assert (problem["code"], problem["found"]) == ("MC020 unreadable-file", '"no such.json"')


def test_nothing_is_stored(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> None:
    houston("validate", write_spec([NOOP]))
    assert sorted(path.name for path in Path().iterdir()) == ["spec.json"]


class TestHandlerModules:
    MODULE = "from mc import task_handler\n\n@task_handler('greet')\ndef greet():\n    return {'x': 1}\n"

    @pytest.fixture
    def spec(self, write_spec: Callable[..., Path], tmp_path: Path) -> Path:
        (tmp_path / "greeting_tasks.py").write_text(self.MODULE)
        (tmp_path / "broken_tasks.py").write_text("import nothing_of_that_name\n")
        (tmp_path / "ending_tasks.py").write_text("raise SystemExit(0)\n")
        (tmp_path / "noisy_tasks.py").write_text("print('hello from the import')\n")
        return write_spec([{"key": "a", "task_type": "greet"}])

    def test_a_module_of_the_current_folder_is_found(
        self, houston_process: Callable[..., Any], spec: Path
    ) -> None:
        assert houston_process("validate", spec, "--handlers", "greeting_tasks").code == 0

    def test_its_task_types_are_unknown_without_it(
        self, houston_process: Callable[..., Any], spec: Path
    ) -> None:
        ended = houston_process("validate", spec)
        assert ended.code == 2
        assert "greet" in ended.out
        assert "--handlers MODULE" in ended.out

    def test_modules_may_come_from_the_environment(
        self, houston_process: Callable[..., Any], spec: Path
    ) -> None:
        environment = {"MC_HANDLER_MODULES": "noisy_tasks, greeting_tasks,"}
        assert houston_process("validate", spec, env=environment).code == 0

    @pytest.mark.parametrize(
        ("module", "reason"),
        [
            ("no_such_module", "no_such_module"),
            ("broken_tasks", "nothing_of_that_name"),
            ("ending_tasks", "SystemExit"),
        ],
    )
    def test_a_module_that_cannot_be_imported_is_bad_usage(
        self, houston_process: Callable[..., Any], spec: Path, module: str, reason: str
    ) -> None:
        ended = houston_process("validate", spec, "--handlers", module)
        assert ended.code == 2
        assert reason in ended.err
        assert "Traceback" not in ended.err

    def test_what_a_module_prints_stays_out_of_the_json(
        self, houston_process: Callable[..., Any], spec: Path
    ) -> None:
        ended = houston_process(
            "validate", spec, "--json", "--handlers", "noisy_tasks", "--handlers", "greeting_tasks"
        )
        assert ended.document == {"valid": True, "problems": []}
        assert "hello from the import" in ended.err


def test_the_schema_is_printed(houston: Callable[..., Any]) -> None:
    from mc.spec.schema.flow_spec_schema import load_flow_spec_schema

    assert houston("schema").document == load_flow_spec_schema()


class TestWarnings:
    def test_what_is_doubtful_is_told_and_the_spec_is_valid(
        self, houston: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        path = write_spec([{"key": "say", "task_type": "print", "task_params": {"msg": "Hello {{name}}"}}])
        ended = houston("validate", path)
        assert ended.code == 0
        assert ": /tasks/0/task_params/msg: warning: " in ended.out
        assert "Did you mean '${ctx.flow.data.name}'?" in ended.out
        assert ended.out.endswith(": valid\n")
        document = houston("--json", "validate", path).document
        assert (document["valid"], document["problems"]) == (True, [])
        assert document["warnings"][0]["suggestion"] == "${ctx.flow.data.name}"


class TestPlaces:
    JSON = '{\n  "tasks": [\n    {"key": "a", "task_type": "noop",\n     "colour": 1}\n  ]\n}\n'
    YAML = "# a chain\ntasks:\n  - key: a\n    task_type: noop\n    colour: 1\n"

    @pytest.fixture(params=[("flow.json", JSON, 4, 6), ("flow.yaml", YAML, 5, 5)], ids=["json", "yaml"])
    def wrong(self, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, int, int]:
        name, text, line, column = request.param
        (tmp_path / name).write_text(text)
        return name, line, column

    def test_validate_says_line_and_column_as_editors_follow_them(
        self, houston: Callable[..., Any], wrong: tuple[str, int, int]
    ) -> None:
        name, line, column = wrong
        assert houston("validate", name).out.startswith(f"{name}:{line}:{column}: /tasks/0/colour: ")

    @pytest.mark.parametrize("command", ["run", "submit", "plan"])
    def test_the_commands_that_need_a_valid_spec_say_them_too(
        self, houston: Callable[..., Any], wrong: tuple[str, int, int], command: str
    ) -> None:
        name, line, column = wrong
        ended = houston(command, name)
        assert ended.code == 2
        assert f"/tasks/0/colour (line {line}, column {column}): " in ended.err

    @pytest.mark.parametrize("command", ["validate", "submit"])
    def test_json_has_them_as_numbers(
        self, houston: Callable[..., Any], wrong: tuple[str, int, int], command: str
    ) -> None:
        name, line, column = wrong
        ended = houston("--json", command, name)
        (problem,) = ended.document["problems"] if command == "validate" else ended.error["problems"]
        assert (problem["line"], problem["column"]) == (line, column)

    def test_data_of_the_command_line_has_no_place_in_the_file(
        self, houston: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "flow.json").write_text(
            json.dumps({"tasks": [NOOP], "params": {"properties": {"n": {"type": "integer"}}}})
        )
        (problem,) = houston("--json", "submit", "flow.json", "--data", "n=x").error["problems"]
        assert (problem["pointer"], problem["line"]) == ("/data/n", None)
