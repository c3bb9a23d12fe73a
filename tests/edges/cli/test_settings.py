"""`mc.toml` as the command takes it, `houston settings` and `houston init`."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc.errors import SettingsError
from mc.settings.known import SETTINGS

Houston = Callable[..., Any]


def write(text: str, folder: str = ".") -> Path:
    path = Path(folder, "mc.toml").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def shown(houston: Houston, *options: str) -> dict[str, Any]:
    settings: dict[str, Any] = houston("settings", "--json", *options).document["settings"]
    return settings


class TestWhatHolds:
    def test_an_option_wins_over_the_environment_over_the_file_over_the_default(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write('\nallow = ["http:file.org"]\n')
        from_file = shown(houston)["allow"]
        assert from_file == {"value": ["http:file.org"], "origin": "file", "place": str(path), "line": 2}
        monkeypatch.setenv("MC_ALLOW", "http:env.org")
        assert shown(houston)["allow"] == {
            "value": ["http:env.org"],
            "origin": "environment",
            "place": "MC_ALLOW",
            "line": None,
        }
        given = shown(houston, "--allow", "http:option.org")["allow"]
        assert (given["value"], given["origin"]) == (["http:option.org"], "option")
        assert shown(houston)["executor"]["origin"] == "default"

    def test_an_empty_variable_allows_nothing(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write('allow = ["shell"]')
        monkeypatch.setenv("MC_ALLOW", "")
        assert shown(houston)["allow"]["value"] == []

    def test_the_database_is_the_files_from_a_folder_below_too(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch, write_spec: Callable[..., Path]
    ) -> None:
        write('db = "sqlite:///flows.sqlite3"')
        spec = write_spec([{"key": "a", "task_type": "noop"}]).absolute()
        Path("below").mkdir()
        monkeypatch.chdir("below")
        assert houston("submit", spec).code == 0
        assert [path.name for path in Path("..").glob("*.sqlite3")] == ["flows.sqlite3"]
        assert list(Path().iterdir()) == []

    def test_modules_are_found_beside_the_file(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch, write_spec: Callable[..., Path]
    ) -> None:
        write('handlers = ["beside_the_file"]')
        code = "from mc import task_handler\n\n\n@task_handler('mine')\ndef mine():\n    return {'x': 1}\n"
        Path("beside_the_file.py").write_text(code, encoding="utf-8")
        spec = write_spec([{"key": "a", "task_type": "mine"}]).absolute()
        Path("below").mkdir()
        monkeypatch.chdir("below")
        assert houston("run", spec).code == 0

    def test_a_module_that_cannot_be_imported_is_told_with_the_file(self, houston: Houston) -> None:
        path = write('handlers = ["no_such_module_here"]')
        for command, code in ((["tick"], 1), (["submit", "no_matter.json"], 2)):
            ended = houston(*command)
            assert ended.code == code
            assert f"{path}: handlers no_such_module_here" in ended.err

    def test_leave_is_taken_from_the_file(self, houston: Houston, write_spec: Callable[..., Path]) -> None:
        spec = write_spec([{"key": "a", "task_type": "shell", "task_params": {"command": "ls"}}])
        assert "MC113" in houston("validate", spec).out
        write('allow = ["shell"]')
        assert "MC113" not in houston("validate", spec).out

    @pytest.mark.parametrize(("command", "options"), [("tick", []), ("loop", ["--max-seconds", "0"])])
    def test_seconds_of_the_file_hold_unless_given(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str]
    ) -> None:
        from mc.houston import Houston as Facade

        seen: list[float] = []
        make = Facade.__init__

        def note(self: Any, *args: Any, **given: Any) -> None:
            seen.append(given["lease_seconds"])
            make(self, *args, **given)

        monkeypatch.setattr(Facade, "__init__", note)
        write("lease_seconds = 7")
        for more in ([], ["--lease-seconds", "9"]):
            assert houston(command, *options, *more).code == 0
        monkeypatch.setenv("MC_LEASE_SECONDS", "8")
        assert houston(command, *options).code == 0
        assert seen == [7, 9, 8]

    @pytest.mark.parametrize("text", ["handler = []", "db = sqlite", 'busy_seconds = "3"'])
    def test_a_wrong_file_is_bad_usage(self, houston: Houston, text: str) -> None:
        path = write(text)
        for line in (["list"], ["tick"], ["settings"], ["--json", "db", "status"]):
            ended = houston(*line)
            assert (ended.code, ended.out) == (2, "")
            assert f"{path}:1:" in ended.err
        assert houston("list", "--json").error["code"] == "usage"

    def test_help_and_init_need_no_sound_file(self, houston: Houston) -> None:
        write("wrong")
        assert houston("--help").code == houston("tick", "--help").code == houston("init", "new").code == 0

    def test_tomllib_is_loaded_only_where_there_is_a_file(self, houston_process: Houston) -> None:
        program = (
            "import sys; from mc.settings.values import SettingValues; SettingValues.find(); "
            "print('tomllib' in sys.modules)"
        )
        run = [sys.executable, "-c", program]
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "False\n"
        write("")
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "True\n"


class TestSettings:
    def test_people_see_each_with_its_place(self, houston: Houston) -> None:
        path = write('db = "postgresql://me:hush@h/d"\n[executors.gpu]\nkind = "slurm"\ntoken = "hush"\n')
        ended = houston("settings", "--allow", "shell")
        rows = {line.split()[0]: line for line in ended.out.splitlines() if line}
        assert ended.out.startswith(f"settings file  {path}\n")
        assert rows["db"].split() == ["db", "postgresql://me:***@h/d", "mc.toml:1"]
        assert rows["allow"].split() == ["allow", "shell", "--allow"]
        assert rows["executors.gpu"].split("  ")[1:] != []
        assert 'kind = "slurm", token = "***"' in rows["executors.gpu"]
        assert rows["executors.gpu"].endswith("mc.toml:2")
        assert rows["busy_seconds"].split() == ["busy_seconds", "30", "default"]
        assert "hush" not in ended.out + json.dumps(shown(houston))

    def test_all_that_is_wrong_with_executors_is_told(self, houston: Houston) -> None:
        path = write(
            'executor = "locl"\n[executors.gpu]\nknd = "slurm"\n'
            '[executors.many]\nkind = "slurm"\nparttion = "x"\n'
            '[executors.far]\nkind = "dsk"\n[executors.fine]\nkind = "local"\n'
        )
        ended = houston("settings")
        assert ended.code == 2
        assert "executors.fine" in ended.out
        told = ended.err.splitlines()
        assert len(told) == 4
        for line, start in zip(told, (2, 4, 7, 1), strict=True):
            assert line.startswith(f"houston: mc.toml:{start}: ")
        assert "'gpu' have no `kind`" in told[0]
        assert "'parttion' is none. Did you mean 'partition'?" in told[1]
        assert "no kind 'dsk' of executors" in told[2]
        assert "There is no executor 'locl'. Did you mean 'local'?" in told[3]
        ended = houston("settings", "--json")
        assert ended.code == 2
        problems = ended.document["problems"]
        assert [each["setting"] for each in problems][1:3] == ["executors.many", "executors.far"]
        assert problems[0]["message"] in told[0]
        assert (problems[0]["place"], problems[0]["line"]) == (str(path), 2)

    def test_an_executor_of_ones_own_whose_module_breaks_is_told(self, houston: Houston) -> None:
        Path("broken_executor.py").write_text("def work(:\n")
        for kind, what in (("broken_executor:X", "SyntaxError"), ("no_such_module:X", "ModuleNotFoundError")):
            write(f'handlers = ["any"]\n[executors.own]\nkind = "{kind}"\n')
            ended = houston("settings")
            assert ended.code == 2
            assert f"'own' are wrong: '{kind}', its `kind`, cannot be imported: {what}" in ended.err

    def test_without_a_file_it_says_so(self, houston: Houston) -> None:
        assert houston("settings").out.startswith("no settings file: there is no mc.toml in this folder")
        assert houston("settings", "--json").document["file"] is None

    def test_each_setting_is_shown_and_no_database_is_made(self, houston: Houston) -> None:
        assert shown(houston).keys() == SETTINGS.keys()
        assert list(Path().iterdir()) == []

    @pytest.mark.parametrize(
        ("db", "folder"),
        [
            ("sqlite:///flows.sqlite3", "flows.sqlite3.data"),
            ("sqlite:////srv/x/flows", "/srv/x/flows.data"),
            ("postgresql://h/d", "mc-data"),
            ("sqlite://", "mc-data"),
        ],
    )
    def test_the_data_folder_is_beside_the_database(self, houston: Houston, db: str, folder: str) -> None:
        from mc import Houston as Facade

        expected = Path.cwd() / folder
        assert shown(houston, "--db", db)["data"]["value"] == str(expected)
        assert Facade(db)._job_settings.data_folder == expected

    @pytest.mark.parametrize(
        ("db", "place"),
        [("sqlite:///flows.sqlite3", "files"), ("postgresql://h/d", "database"), ("sqlite://", "database")],
    )
    def test_large_results_are_in_files_where_all_are_on_one_host(
        self, houston: Houston, db: str, place: str
    ) -> None:
        from mc import Houston as Facade

        assert shown(houston, "--db", db)["large_results"]["value"] == place
        assert Facade(db)._job_settings.results_in_files is (place == "files")
        assert Facade(db, large_results="files")._job_settings.results_in_files

    def test_a_wrong_place_of_large_results_is_told(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mc import Houston as Facade

        monkeypatch.setenv("MC_LARGE_RESULTS", "file")
        ended = houston("settings")
        assert ended.code != 0
        assert 'MC_LARGE_RESULTS is \'file\'; it must be "files", "database", the absolute path' in ended.err
        with pytest.raises(SettingsError, match=r"large_results is 'disk'; it must be .* or a URL such as"):
            Facade(large_results="disk")

    def test_a_place_of_large_results_that_hosts_share_is_shown_without_its_password(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_LARGE_RESULTS", "s3://user:hush@host/results")
        assert shown(houston)["large_results"]["value"] == "s3://user:***@host/results"

    @pytest.mark.parametrize("place", ["/srv/results", "file:///srv/results"])
    def test_a_folder_needs_nothing_installed(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from mc import Houston as Facade

        monkeypatch.setitem(sys.modules, "fsspec", None)
        assert Facade(large_results=place)._job_settings.results_place == "/srv/results"

    def test_what_a_url_needs_and_is_not_there_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from mc import Houston as Facade

        with pytest.raises(
            SettingsError,
            match=r"memry://user:\*\*\*@b, and fsspec knows no memry://. Did you mean memory://",
        ):
            Facade(large_results="memry://user:hush@b")
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(SettingsError, match=r"needs fsspec. Run: pip install 'mission-control\[blobs\]'"):
            Facade(large_results="s3://bucket/results")


class TestInit:
    def test_what_it_writes_works_as_it_is_printed(self, houston_process: Houston) -> None:
        ended = houston_process("init", "a b/50%")
        folder = Path.cwd() / "a b" / "50%"
        assert ended.code == 0
        assert ended.out.splitlines()[:2] == [f"wrote {folder}/mc.toml", f"wrote {folder}/hello.json"]
        written = json.loads(houston_process("init", "--json", "other").out)
        assert written["files"] == [f"{Path.cwd()}/other/mc.toml", f"{Path.cwd()}/other/hello.json"]
        assert written["commands"][:2] == [f"cd {Path.cwd()}/other", "houston run hello.json"]
        line = next(text for text in ended.out.splitlines() if "* * * * *" in text).strip()
        assert f"cd '{Path.cwd()}/a b/50\\%' && {shlex.quote(str(Path(sys.executable).parent))}" in line

    def test_the_example_runs(self, houston: Houston, monkeypatch: pytest.MonkeyPatch) -> None:
        houston("init", "new")
        monkeypatch.chdir("new")
        ended = houston("run", "hello.json", "--max-seconds", "0")
        assert ended.code == 4, ended.err
        assert houston("validate", "hello.json").out == "hello.json: valid\n"
        assert Path("mc.sqlite3").exists()

    def test_all_that_it_offers_is_a_setting_with_its_default(self, houston: Houston) -> None:
        from mc.settings.settings_file import SettingsFile

        assert houston("init").code == 0
        path = Path("mc.toml")
        assert tomllib.loads(path.read_text()) == {"db": "sqlite:///mc.sqlite3"}
        lines = [
            line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
            for line in path.read_text().splitlines()
        ]
        path.write_text("\n".join(lines), encoding="utf-8")
        offered = SettingsFile.read(path).values
        assert offered.keys() == SETTINGS.keys()
        plain = SETTINGS.keys() - {"db", "handlers", "allow", "data", "secrets", "large_results", "executors"}
        assert {name: offered[name] for name in plain} == {name: SETTINGS[name].default for name in plain}

    @pytest.mark.parametrize("name", ["mc.toml", "hello.json"])
    def test_nothing_is_overwritten(self, houston: Houston, name: str) -> None:
        Path(name).write_text("mine", encoding="utf-8")
        ended = houston("init")
        assert ended.code == 2
        assert f"{Path.cwd()}/{name} is there already, and nothing was written." in ended.err
        assert [(path.name, path.read_text()) for path in Path().iterdir()] == [(name, "mine")]


class TestInPython:
    def test_a_library_looks_at_no_file_unless_asked_to(self, tmp_path: Path) -> None:
        from mc import AsyncHouston
        from mc import Houston as Facade

        write(
            'db = "sqlite:///file.sqlite3"\nallow = ["shell"]\nexecutor = "gpu"\nsecrets = "s"\n'
            "[executors.gpu]\nx = 1\n"
        )
        assert Facade().db == "sqlite:///mc.sqlite3"
        for facade in (Facade.from_settings(), AsyncHouston.from_settings(tmp_path / "mc.toml").houston):
            assert facade.db == f"sqlite:///{tmp_path}/file.sqlite3"
            assert facade.engine.registry.allowed.names == ("shell",)
            jobs = facade._job_settings
            assert (jobs.executor, jobs.executors) == ("gpu", {"gpu": {"x": 1}})
            assert jobs.secrets_folder == tmp_path / "s"
            assert jobs.data_folder == tmp_path / "file.sqlite3.data"
        assert Facade.from_settings(db="sqlite://", allow="http").engine.registry.allowed.names == ("http",)

    def test_settings_of_executors_are_mappings(self) -> None:
        from mc import Houston as Facade
        from mc import McError

        with pytest.raises(McError, match="must be a mapping"):
            Facade(executors={"gpu": 1})  # type: ignore[dict-item]
