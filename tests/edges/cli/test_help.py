from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from mc import __version__
from mc.cli.exit_codes import EXIT_CODE_MEANINGS, ExitCode
from mc.cli.main import COMMAND_GROUPS, COMMANDS, main
from tests.support.left_out import leave_out

ROOT = Path(__file__).resolve().parents[3]
HEAVY = {"sqlalchemy", "jsonschema", "rich", "asyncio", "cronsim"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_of_a_command_what_its_module_says(name: str) -> None:
    command = import_module(COMMANDS[name].module).command
    assert (command.name, command.get_short_help_str(limit=200)) == (name, COMMANDS[name].short_help)


def test_the_help_names_every_command_and_every_exit_code(houston: Callable[..., Any]) -> None:
    ended = houston("--help")
    assert ended.code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in ended.out] == []
    assert [
        code for code in ExitCode if f"{code.value:>3}  {EXIT_CODE_MEANINGS[code][:20]}" not in ended.out
    ] == []


def test_the_help_shows_the_commands_in_a_few_groups_and_each_on_one_line(
    houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = houston("--help").out
    for heading, group in COMMAND_GROUPS.items():
        lines = shown.partition(f"\n{heading}:\n")[2].partition("\n\n")[0].splitlines()
        assert [line.split()[0] for line in lines] == list(group)
        assert {len(line) - len(line[2:].partition(" ")[2].lstrip()) for line in lines} == {12}
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--db", "--json", "--handlers", "--debug"} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.opts for option in options if not option.help] == []


def test_the_help_is_shown_where_nothing_is_asked_for(houston: Callable[..., Any]) -> None:
    assert houston().out == houston("--help").out


def test_the_version_is_that_of_the_package(houston: Callable[..., Any]) -> None:
    assert houston("--version").out == f"houston {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["tick", "--help"], ["--version"]])
def test_help_loads_no_heavy_module(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom mc.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stderr.split()) & HEAVY == set()


def test_an_idle_tick_takes_little_memory(houston_process: Callable[..., Any], tmp_path: Path) -> None:
    if sys.platform != "linux":
        leave_out("the peak of memory is read from /proc, which Linux has")
    script = (
        "from mc.cli.main import main\n"
        "try:\n    main(['tick'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(open('/proc/self/status').read())\n"
    )
    houston_process("tick")  # makes the tables
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", done.stdout, re.MULTILINE)
    assert peak
    assert int(peak[1]) <= 45 * 1024


class TestUsage:
    def test_an_unknown_command_is_named_with_the_nearest_one(self, houston: Callable[..., Any]) -> None:
        ended = houston("lst")
        assert ended.code == 2
        assert ended.err.startswith("houston: There is no command 'lst'. Did you mean 'list'?")

    def test_an_unknown_option_is_bad_usage(self, houston: Callable[..., Any]) -> None:
        ended = houston("list", "--lable", "x")
        assert ended.code == 2
        assert "--lable" in ended.err
        assert "houston list --help" in ended.err

    def test_bad_usage_is_json_where_json_is_asked_for(self, houston: Callable[..., Any]) -> None:
        ended = houston("tick", "--json", "--max-flows", "none")
        assert (ended.code, ended.out) == (2, "")
        assert ended.error["code"] == "usage"
        assert "none" in ended.error["message"]

    def test_an_argument_after_two_dashes_does_not_ask_for_json(self, houston: Callable[..., Any]) -> None:
        ended = houston("show", "--", "--json", "b")
        assert ended.code == 2
        assert ended.err.startswith("houston: ")

    def test_common_options_may_stand_before_the_command(self, houston: Callable[..., Any]) -> None:
        houston("tick", "--db", "sqlite:///a.sqlite3")  # makes the tables
        before = houston("--json", "--db", "sqlite:///a.sqlite3", "list")
        after = houston("list", "--json", "--db", "sqlite:///a.sqlite3")
        assert (before.code, before.out) == (after.code, after.out) == (0, "[]\n")
        assert [path.name for path in Path().glob("*.sqlite3")] == ["a.sqlite3"]

    def test_an_option_wins_over_the_environment(
        self, houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_DB_URL", "sqlite:///environment.sqlite3")
        houston("--db", "sqlite:///option.sqlite3", "tick")
        assert [path.name for path in Path().glob("*.sqlite3")] == ["option.sqlite3"]

    def test_the_environment_wins_over_the_default(
        self, houston: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_DB_URL", "sqlite:///environment.sqlite3")
        houston("tick")
        assert [path.name for path in Path().glob("*.sqlite3")] == ["environment.sqlite3"]
