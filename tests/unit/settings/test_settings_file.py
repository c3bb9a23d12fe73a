"""The settings file: where it is looked for, what it may say, and how what is wrong is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mc.errors import SettingsError
from mc.settings.known import SETTINGS
from mc.settings.place import find_settings_file
from mc.settings.settings_file import SettingsFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mc.toml"


def read(file: Path, text: str | bytes) -> SettingsFile:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return SettingsFile.read(file)


def error_of(file: Path, text: str | bytes) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(file, text)
    return caught.value


class TestPlace:
    def test_the_nearest_one_above_is_taken(self, tmp_path: Path, file: Path) -> None:
        folder = tmp_path / "a" / "b"
        folder.mkdir(parents=True)
        assert find_settings_file({}, folder) is None
        file.touch()
        assert find_settings_file({}, folder) == file
        nearer = tmp_path / "a" / "mc.toml"
        nearer.touch()
        assert find_settings_file({}, folder) == nearer

    def test_a_folder_of_that_name_is_none(self, tmp_path: Path, file: Path) -> None:
        file.mkdir()
        assert find_settings_file({}, tmp_path) is None

    def test_one_may_be_named(self, tmp_path: Path, file: Path) -> None:
        file.touch()
        named = tmp_path / "other.toml"
        named.touch()
        assert find_settings_file({"MC_CONFIG": "other.toml"}, tmp_path) == named
        assert find_settings_file({"MC_CONFIG": ""}, tmp_path) == file
        with pytest.raises(SettingsError, match=r"no settings file 'gone\.toml', which MC_CONFIG"):
            find_settings_file({"MC_CONFIG": "gone.toml"}, tmp_path)

    def test_another_users_is_followed_only_if_it_is_named(
        self, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file.touch()
        monkeypatch.setattr(Path, "stat", lambda self: os.stat_result((0o644, 1, 1, 1, 12_345, *[0] * 5)))
        with pytest.raises(SettingsError, match=r"another user \(12345\).*MC_CONFIG="):
            find_settings_file({}, tmp_path)
        monkeypatch.undo()
        assert find_settings_file({"MC_CONFIG": str(file)}, tmp_path) == file


class TestValues:
    @pytest.mark.parametrize(
        ("text", "name", "expected"),
        [
            ('db = "sqlite:///flows.sqlite3"', "db", "sqlite:///{folder}/flows.sqlite3"),
            ('db = "sqlite:///flows.sqlite3?mode=ro"', "db", "sqlite:///{folder}/flows.sqlite3?mode=ro"),
            ('db = "sqlite:////srv/flows.sqlite3"', "db", "sqlite:////srv/flows.sqlite3"),
            ('db = "sqlite:///:memory:"', "db", "sqlite:///:memory:"),
            ('db = "postgresql://me@h/d"', "db", "postgresql://me@h/d"),
            ('handlers = ["a", "b.c"]', "handlers", ("a", "b.c")),
            ('handlers = "a, b"', "handlers", ("a", "b")),
            ("lease_seconds = 5", "lease_seconds", 5.0),
            ("busy_seconds = 0.5", "busy_seconds", 0.5),
            ("outage_seconds = 0", "outage_seconds", 0.0),
            ('file_mode = "660"', "file_mode", 0o660),
            ('file_mode = "umask"', "file_mode", None),
            ("max_task_bytes = 1_000", "max_task_bytes", 1_000),
            ('executor = "gpu"', "executor", "gpu"),
            ('[executors.gpu]\nkind = "slurm"', "executors", {"gpu": {"kind": "slurm"}}),
        ],
    )
    def test_each_has_its_form(self, file: Path, text: str, name: str, expected: Any) -> None:
        if isinstance(expected, str):
            expected = expected.format(folder=file.parent)
        assert read(file, text).values == {name: expected}

    @pytest.mark.parametrize("name", ["data", "secrets"])
    def test_folders_are_relative_to_the_file(self, file: Path, name: str) -> None:
        assert read(file, f'{name} = "x/y"').values[name] == file.parent / "x/y"
        assert read(file, f'{name} = "/x"').values[name] == Path("/x")

    def test_leave_is_read(self, file: Path) -> None:
        assert read(file, 'allow = ["shell", "http:a.org"]').values["allow"].names == ("shell", "http:a.org")


class TestProblems:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("handler = []", ":1: 'handler' is no setting. Did you mean handlers?"),
            ("\n# no\nqqq = 1", ":3: 'qqq' is no setting. There are db, handlers,"),
            ("[executor.gpu]", ":1: executor is a table; it must be the name of an executor"),
            ("handlers = [1]", ":1: handlers is a list; it must be a list of names of modules"),
            ("db = 1", ":1: db is the number 1; it must be a database URL"),
            ('db = "me:pw@h"', ":1: db is the text 'me:***@h'; it must be a database URL"),
            ("busy_seconds = true", ":1: busy_seconds is true; it must be a number of seconds"),
            ('busy_seconds = "3"', ":1: busy_seconds is the text '3'; it must be a number of seconds"),
            ("busy_seconds = 4000", ":1: busy_seconds is the number 4000; it must be a number of seconds"),
            ("lease_seconds = nan", ":1: lease_seconds is the number nan; it must be a number of seconds"),
            ("file_mode = 600", ":1: file_mode is the number 600; it must be the permissions"),
            ("lease_seconds = 2020-01-01", ":1: lease_seconds is a time, 2020-01-01; it must be"),
            ("executors = 1", ":1: executors is the number 1; it must be a table for each executor"),
            ("[executors]\nlocal = 1", ":1: executors is a table; it must be a table for each executor"),
            ("[executors.a]\nkind = 1", ":1: executors is a table; it must be a table for each executor"),
            ("[executors.a]\nat = [2020-01-01]", ":1: executors is a table;"),
            ('data = ""', ":1: data is the text ''; it must be the path of a folder."),
            ('allow = ["shel"]', ":1: allow: 'shel' cannot be allowed."),
        ],
    )
    def test_what_is_wrong_is_told_with_its_line(self, file: Path, text: str, message: str) -> None:
        assert f"{file}{message}" in error_of(file, text).message

    def test_all_of_it_is_told_at_once(self, file: Path) -> None:
        text = 'handlers = [\n  "a",\n  "b",\n]\nbusy_second = 3\n\n'
        text += '[executors.x]\ndb = """\nzzz = 3\n"""\n[zzz]\n'
        error = error_of(file, text)
        assert error.message == (
            "The settings file has 2 problems:\n"
            f"  {file}:5: 'busy_second' is no setting. Did you mean busy_seconds?\n"
            f"  {file}:11: 'zzz' is no setting. There are {', '.join(SETTINGS)}."
        )
        assert (error.file, error.line) == (str(file), 5)

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("a = 1\ndb = sqlite", "2:6"),
            ('a = 1\ndb = "', "2:7"),
            ("db = 1\ndb = 2", "2:7"),
            ("[a", "1:3"),
            (b"a = 1\nb = \xff", "2:5"),
        ],
    )
    def test_what_is_no_toml_is_told_with_line_and_column(
        self, file: Path, text: str | bytes, place: str
    ) -> None:
        error = error_of(file, text)
        assert error.message.startswith(f"{file}:{place}: This is not ")
        assert f"{error.line}:{error.column}" == place

    def test_what_is_far_too_large_is_none(self, file: Path) -> None:
        assert "more than 1,000,000 bytes" in error_of(file, "#" * 1_000_001).message

    def test_nesting_without_end_is_refused(self, file: Path) -> None:
        assert "nested too deeply" in error_of(file, "a = " + "[" * 100_000).message


class TestLines:
    def test_each_key_has_the_line_where_it_stands_first(self, file: Path) -> None:
        text = (
            '# first\ndb = "sqlite:///x"  # "no" = 1\nhandlers = [\n  "a = 1",\n]\n'
            'executors.a.x = 1\n[executors."b.c"]\nkind = "k"\n  [executors.d]\ny = {z = 1}\n'
        )
        lines = read(file, text).find_lines()
        assert {steps: line for steps, line in lines.items() if steps != ("executors",)} == {
            ("db",): 2,
            ("handlers",): 3,
            ("executors", "a"): 6,
            ("executors", "a", "x"): 6,
            ("executors", "b.c"): 7,
            ("executors", "b.c", "kind"): 8,
            ("executors", "d"): 9,
            ("executors", "d", "y"): 10,
            ("executors", "d", "y", "z"): 10,
        }
