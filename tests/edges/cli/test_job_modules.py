"""`houston job build`, `run` and `ingest`: work directories that people carry somewhere and back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mc.store.job_store import JobStore
from tests.edges.cli.conftest import Houston
from tests.support.job_folders import OLDEST_PYTHON

MODULE = """
from labs.parts import helper

CONFIG_SCHEMA = {"required": ["factor"]}


def build(params, config, work_dir):
    print("building")
    (work_dir / "in").write_text(f"{params['n']} {config['factor']}")


def run(work_dir):
    print("running", helper.__name__)
    n, factor = map(int, (work_dir / "in").read_text().split())
    if n < 0:
        raise ValueError("below zero")
    (work_dir / "out").write_text(str(n * factor))


def parse(work_dir):
    print("parsing")
    return {"product": int((work_dir / "out").read_text())}
"""
SETTINGS = """
handlers = ["labs"]
executor = "manual"
[executors.manual.config]
factor = 3
[executors.quick]
kind = "local"
config = {factor = 4}
"""
KEY = "lab/times/1"


@pytest.fixture(autouse=True)
def lab(tmp_path: Path) -> Iterator[None]:
    """A package whose part `labs.times` is a job module, and the settings for it."""
    (tmp_path / "labs" / "times").mkdir(parents=True)
    (tmp_path / "labs" / "__init__.py").write_text("")
    (tmp_path / "labs" / "parts.py").write_text("class helper: pass\n")
    (tmp_path / "labs" / "times" / "__init__.py").write_text(MODULE)
    (tmp_path / "labs" / "times" / "table.csv").write_text("1,2")
    (tmp_path / "labs" / "large.bin").write_text("")
    (tmp_path / "mc.toml").write_text(SETTINGS)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "labs"]:
        del sys.modules[name]


def job(n: Any = 7, **params: Any) -> dict[str, Any]:
    task = {"job_type": "labs.times", "job_params": {"n": n}, **params}
    return {"key": "times", "task_type": "job", "task_params": task}


def submit(houston: Houston, task: dict[str, Any]) -> None:
    """Store a flow, and have its job handed to its executor."""
    Path("spec.json").write_text(json.dumps({"key": "lab", "tasks": [task]}))
    assert houston("submit", "spec.json").code == 0
    assert houston("tick").code == 0


@pytest.fixture
def waiting(houston: Houston) -> None:
    """A job that waits for its work directory."""
    submit(houston, job())


def status_of(houston: Houston, key: str = KEY) -> str:
    status: str = houston("job", "show", key, "--json").document["status"]
    return status


def run_elsewhere(path: Path, folder: Path) -> Path:
    """Carry a directory to another place, run it there where nothing is installed, and bring it back."""
    away = Path(shutil.move(path, folder / "away"))
    done = subprocess.run(
        [OLDEST_PYTHON, "-E", "-s", "-S", str(away / "run.py")], cwd="/", env={}, capture_output=True
    )
    assert done.stdout == b""
    return Path(shutil.move(away, path))


def refuse(houston: Houston, path: Path | str) -> str:
    """Take a directory in, which must be refused; return what is said."""
    ended = houston("job", "ingest", path)
    assert ended.code == 2
    assert ended.out == ""
    return ended.err


@pytest.mark.usefixtures("waiting")
class TestOfAStoredJob:
    def test_it_is_carried_away_run_and_taken_in(self, houston: Houston, tmp_path: Path) -> None:
        assert status_of(houston) == "SUBMITTED"
        ended = houston("job", "build", "dir", "--job", KEY)
        assert ended.out == "dir: built; `python3 run.py` in it, wherever it is, runs it\n"
        assert ended.err == "building\n"
        carried = [str(each.relative_to("dir/modules")) for each in Path("dir").glob("modules/**/*.*")]
        names = ["__init__.py", "parts.py", "times/__init__.py", "times/table.csv"]
        assert sorted(carried) == [f"labs/{name}" for name in names]
        path = run_elsewhere(Path("dir"), tmp_path)
        ended = houston("job", "ingest", path)
        assert (ended.code, ended.out) == (0, f"{KEY}: COMPLETED; the next tick goes on with its flow\n")
        assert status_of(houston) == "COMPLETED"
        assert houston("tick").code == 0
        flow = houston("show", "lab", "--json", "--task", "times").document
        assert flow["data"]["result"] == {"product": 21}
        assert houston("logs", "lab", "times", "--stdout").out == "running helper\n"

    def test_a_large_result_goes_to_the_place_that_hosts_share(
        self, houston: Houston, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MC_LARGE_RESULTS", str(tmp_path / "shared"))
        times = tmp_path / "labs" / "times" / "__init__.py"
        times.write_text(MODULE.replace('int((work_dir / "out").read_text())', "'x' * 100_000"))
        sys.modules.pop("labs.times", None)
        houston("job", "build", "dir", "--job", KEY)
        houston("job", "run", "dir")
        assert houston("job", "ingest", "dir").code == 0
        (file,) = (tmp_path / "shared").glob("*/*")
        assert file.stat().st_size > 100_000
        outcome = houston("job", "show", KEY, "--json").document["outcome"]
        assert outcome["result_apart"]["sha256"] == file.name
        assert "result" not in outcome
        houston("tick")
        flow = houston("show", "lab", "--json", "--task", "times").document
        assert flow["data"]["result"] == {"product": "x" * 100_000}

    def test_people_are_told_what_it_waits_for(self, houston: Houston) -> None:
        said = houston("explain", "lab").out
        assert f"houston job build DIR --job {KEY}" in said
        assert "A person who takes its work directory in" in said
        for command in (["show", "lab"], ["job", "list"], ["job", "show", KEY]):
            assert "waits for its work directory" in houston(*command).out

    def test_to_take_it_in_again_changes_nothing(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--job", KEY)
        assert houston("job", "run", "dir").code == 0
        assert not houston("job", "ingest", "dir", "--json").document["was_before"]
        rows = sqlite3.connect("mc.sqlite3").execute("select * from mc_job").fetchall()
        ended = houston("job", "ingest", "dir")
        assert ended.out == f"{KEY}: was taken in before, and is COMPLETED; nothing was changed\n"
        assert ended.code == 0
        assert sqlite3.connect("mc.sqlite3").execute("select * from mc_job").fetchall() == rows

    def test_two_that_take_it_in_at_once_end_the_job_once(
        self, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        houston("job", "build", "dir", "--job", KEY)
        houston("job", "run", "dir")
        end = JobStore.end

        def end_after_another(jobs: JobStore, endings: Any) -> Any:
            end(jobs, endings)
            return end(jobs, endings)

        monkeypatch.setattr(JobStore, "end", end_after_another)
        assert "was taken in before, and is COMPLETED" in houston("job", "ingest", "dir").out

    def test_no_code_that_it_brings_along_is_run(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--job", KEY)
        houston("job", "run", "dir")
        for path in Path("dir").glob("**/*.py"):
            path.write_text("raise SystemExit('no code of mine')")
        assert houston("job", "ingest", "dir", "--json").document["result"] == {"product": 21}

    def test_one_that_comes_after_another_is_too_late(self, houston: Houston) -> None:
        for path in ("first", "second"):
            houston("job", "build", path, "--job", KEY)
            houston("job", "run", path)
        houston("job", "ingest", "first")
        assert f"Job '{KEY}' is COMPLETED already. " in refuse(houston, "second")
        assert "came too late, and nothing was changed" in refuse(houston, "second")

    def test_it_waits_for_as_long_as_it_takes(self, houston: Houston) -> None:
        with sqlite3.connect("mc.sqlite3") as connection:
            connection.execute("update mc_job set lease_expires_at = '2000-01-01T00:00:00.000000Z'")
        houston("tick")
        assert status_of(houston) == "SUBMITTED"

    def test_one_that_was_cancelled_waits_no_longer(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--job", KEY)
        houston("job", "run", "dir")
        assert houston("job", "cancel", KEY, "--reason", "wrong rod").code == 0
        assert "is asked to end (wrong rod)" in refuse(houston, "dir")
        houston("tick")  # asks it to end
        houston("tick")
        assert status_of(houston) == "CANCELLED"
        assert "is CANCELLED already (wrong rod)" in refuse(houston, "dir")

    def test_one_without_a_mark_was_not_run(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--job", KEY)
        assert "has no mark COMPLETED or FAILED" in refuse(houston, "dir")
        Path("dir/out").write_text("5")
        Path("dir/COMPLETED").touch()  # by hand
        assert houston("job", "ingest", "dir", "--json").document["result"] == {"product": 5}

    def test_one_that_cannot_be_parsed_changes_nothing(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--job", KEY)
        houston("job", "run", "dir")
        Path("dir/out").rename("elsewhere")
        assert "FileNotFoundError: parse of 'labs.times' failed in " in refuse(houston, "dir")
        assert status_of(houston) == "SUBMITTED"
        Path("elsewhere").rename("dir/out")
        assert houston("job", "ingest", "dir").code == 0

    def test_one_of_other_work_is_refused(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--job", KEY)
        houston("job", "run", "dir")
        work = json.loads(Path("dir/work.json").read_text())
        Path("dir/work.json").write_text(json.dumps({**work, "params": {"n": 8}}))
        assert f"was built for other work than that of job '{KEY}'" in refuse(houston, "dir")
        Path("dir/work.json").write_text(json.dumps({**work, "job_key": "lab/times/9"}))
        assert "No job with the key 'lab/times/9'" in refuse(houston, "dir")


def test_a_run_that_fails_fails_the_job_by_the_name_of_its_error(houston: Houston) -> None:
    submit(
        houston, {**job(-1), "cfg": {"retry": {"max_attempts": 2, "on": ["ArithmeticError", "ValueError"]}}}
    )
    houston("job", "build", "dir", "--job", KEY)
    assert houston("job", "run", "dir").code == 1
    assert "below zero" in Path("dir/stderr").read_text()
    ended = houston("job", "ingest", "dir")
    assert ended.code == 1
    assert f"{KEY}: FAILED  ValueError: run of 'labs.times' failed in " in ended.out
    assert "below zero; the next tick" in ended.out
    houston("tick")
    houston("tick")
    assert status_of(houston, "lab/times/2") == "SUBMITTED"


def test_a_job_of_another_executor_waits_for_no_directory(houston: Houston) -> None:
    submit(houston, job(executor="quick"))
    houston("job", "build", "dir", "--job", KEY)
    houston("job", "run", "dir")
    with sqlite3.connect("mc.sqlite3") as connection:  # whether it has ended is not the point here
        connection.execute(
            "update mc_job set status = 'RUNNING', place = 'elsewhere', lease_expires_at = '9999'"
        )
    assert "is done by the executor 'quick' and waits for no work directory" in refuse(houston, "dir")


def test_what_is_no_job_module_cannot_be_done_by_hand(houston: Houston) -> None:
    task = {"key": "times", "task_type": "job", "task_params": {"job_type": "labs.parts:helper"}}
    Path("spec.json").write_text(json.dumps({"key": "lab", "tasks": [task]}))
    houston("submit", "spec.json")
    houston("tick")
    houston("tick")
    said = houston("show", "lab", "--task", "times").out
    assert "cannot be done by hand: only those of job modules" in said
    assert "is not the work of a job module" in houston("job", "build", "dir", "--job", KEY).err
    assert not Path("dir").exists()


@pytest.mark.parametrize(
    ("job_type", "said"),
    [
        ("labs.tims", "'labs.tims': there is no module 'labs.tims'."),
        ("labs.parts", "'labs.parts': the module 'labs.parts' has no public 'build'"),
        ("other.module", "which is not allowed"),
        ("labs.times:bild", "Did you mean 'labs.times:build'?"),
        ("other:function", "which is not allowed"),
    ],
)
def test_a_job_type_is_checked_before_it_is_stored(houston: Houston, job_type: str, said: str) -> None:
    Path("spec.json").write_text(json.dumps({"tasks": [job(job_type=job_type)]}))
    ended = houston("validate", "spec.json")
    assert ended.code == 2
    assert said in ended.out + ended.err
    assert "/tasks/0/task_params/job_type" in ended.out + ended.err


class TestOfNoStoredJob:
    def test_its_result_is_printed(self, houston: Houston) -> None:
        built = houston("job", "build", "dir", "--type", "labs.times", "--params", "n=2", "--json")
        assert built.document == {"path": "dir", "job": None, "job_type": "labs.times"}
        assert houston("job", "run", "dir", "--json").document == {"path": "dir", "status": "COMPLETED"}
        assert houston("job", "ingest", "dir").out == 'dir: COMPLETED\nresult: {"product": 6}\n'
        assert not Path("mc.sqlite3").exists()

    def test_its_config_is_that_of_an_executor(self, houston: Houston) -> None:
        arguments = ("job", "build", "dir", "--type", "labs.times", "--params", "n=2", "--executor")
        assert "There is no executor 'quik'. Did you mean 'quick'?" in houston(*arguments, "quik").err
        assert "[executors.local.config]" in houston(*arguments, "local").err
        assert not Path("dir").exists()
        assert houston(*arguments, "quick").code == 0
        assert Path("dir/in").read_text() == "2 4"

    def test_only_allowed_modules_are_built_and_parsed(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--type", "labs.times", "--params", "n=2")
        houston("job", "run", "dir")
        Path("mc.toml").write_text(SETTINGS.replace('"labs"', ""))
        assert "'labs.times', which is not allowed" in refuse(houston, "dir")
        assert "which is not allowed" in houston("job", "build", "d", "--type", "labs.times").err

    def test_a_run_that_completed_is_not_repeated_one_that_failed_may_be(self, houston: Houston) -> None:
        houston("job", "build", "dir", "--type", "labs.times", "--params", "n=-2")
        assert houston("job", "run", "dir").code == 1
        Path("dir/in").write_text("2 2")
        assert houston("job", "run", "dir").code == 0
        assert not Path("dir/FAILED").exists()
        ended = houston("job", "run", "dir")
        assert (ended.code, ended.err) == (2, "houston: dir was run already; it is COMPLETED.\n")

    def test_a_build_that_fails_says_why(self, houston: Houston) -> None:
        ended = houston("job", "build", "dir", "--type", "labs.times")
        assert ended.code == 2
        assert "KeyError: build of 'labs.times' failed in " in ended.err
        assert "/dir: 'n'" in ended.err
        Path("dir/in").touch()
        assert "dir is not empty" in houston("job", "build", "dir", "--type", "labs.times").err
        assert Path("dir/in").exists()

    def test_a_build_that_fails_halfway_leaves_nothing_in_the_way(
        self, houston: Houston, tmp_path: Path
    ) -> None:
        begun = '    (work_dir / "a" / "b").mkdir(parents=True)\n    (work_dir / "c").symlink_to("/")\n'
        broken = MODULE.replace('    print("building")\n', begun)
        (tmp_path / "labs" / "times" / "__init__.py").write_text(broken)
        assert houston("job", "build", "dir", "--type", "labs.times").code == 2
        assert list(Path("dir").iterdir()) == []
        again = houston("job", "build", "dir", "--type", "labs.times", "--params", "n=2")
        assert again.code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "dir"], "Name either a stored job, by --job, or a job module, by --type."),
        (["build", "dir", "--job", "j", "--type", "t"], "Name either a stored job"),
        (["build", "dir", "--job", "j", "--params", "a=1"], "go with --type"),
        (["build", "mc.toml", "--type", "labs.times"], "mc.toml cannot be made: File exists"),
        (["build", "dir", "--type", "labs.time"], "No module named 'labs.time'"),
        (["build", "dir", "--type", "labs.parts"], "is no job module: it has no `build` and no `parse`"),
        (["run", "labs"], "labs is no work directory: "),
        (["ingest", "nowhere"], "nowhere is no work directory: "),
    ],
)
def test_wrong_usage(houston: Houston, arguments: list[str], said: str) -> None:
    ended = houston("job", *arguments)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"version": 9, "job_type": "labs.times"}'])
def test_a_damaged_directory(houston: Houston, text: str) -> None:
    Path("dir").mkdir()
    Path("dir/work.json").write_text(text)
    assert "dir/work.json is " in refuse(houston, "dir")


@pytest.mark.parametrize("mark", ["{", "[]", '{"error": 3, "started_at": "x", "host": 7, "pid": "y"}'])
def test_a_damaged_mark(houston: Houston, mark: str) -> None:
    houston("job", "build", "dir", "--type", "labs.times", "--params", "n=2")
    Path("dir/FAILED").write_text(mark)
    ended = houston("job", "ingest", "dir")
    assert ended.code in (1, 2)
    assert ("cannot be read" in ended.err) == (ended.code == 2)
