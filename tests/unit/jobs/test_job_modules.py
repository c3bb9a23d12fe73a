"""Job modules: what builds, runs and parses a work directory, and what is said where it cannot."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mc.errors import McError
from mc.flows.handlers.callables import CallableFinder
from mc.flows.handlers.job_modules import CARRY_OUT, JobConfigError, check_job_module
from mc.flows.jobs.job import Outcome
from mc.flows.jobs.job_settings import JobSettings, ModuleSettings
from mc.jobs.find_executor import make_executor
from tests.support.job_folders import OLDEST_PYTHON, SCRIPT, make_folder, run

NUMBERS = count()

BUILD = "def build(params, config, work_dir): (work_dir / 'in').write_text(f\"{params['n']} {config}\")\n"
RUN = "def run(work_dir): (work_dir / 'out').write_text((work_dir / 'in').read_text().split()[0] * 3)\n"
PARSE = "def parse(work_dir): return {'out': (work_dir / 'out').read_text()}\n"
FAKE = "fake = {'out': 'scripted', 'deep/er.txt': ''}\n"

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module into a package that this process can import; return its name."""
    monkeypatch.syspath_prepend(tmp_path / "code")

    def write(text: str) -> str:
        package = f"lab{next(NUMBERS)}"
        (tmp_path / "code" / package).mkdir(parents=True)
        (tmp_path / "code" / package / "__init__.py").touch()
        (tmp_path / "code" / package / "task.py").write_text(text)
        return f"{package}.task"

    return write


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script as it is carried to hosts where this package is not."""
    return Path(shutil.copytree(SCRIPT.parent, tmp_path_factory.mktemp("carried") / "script")) / SCRIPT.name


@pytest.fixture
def work(write: Write, tmp_path: Path, script: Path) -> Callable[..., Outcome]:
    """Do the work of a module of that text as a job, where nothing but the script is there."""

    def work(text: str, **kwargs: Any) -> Outcome:
        given = {"job_type": write(text), "params": {"n": 7}, "config": {}, **kwargs}
        places = [str(tmp_path / "code")]
        call = {"type": "function", "function": CARRY_OUT, "kwargs": given, "sys_path": places}
        folder = make_folder(tmp_path, call, key=given["job_type"])
        run(folder, python=(OLDEST_PYTHON,), script=script)
        outcome = folder.read_outcome()
        assert outcome is not None
        return outcome

    return work


def error_of(outcome: Outcome) -> dict[str, Any]:
    assert outcome.status == "FAILED"
    assert outcome.error is not None
    return dict(outcome.error)


class TestWork:
    def test_what_is_built_is_run_and_what_that_leaves_is_parsed(
        self, work: Callable[..., Outcome], tmp_path: Path
    ) -> None:
        outcome = work(BUILD + RUN + PARSE, config={"a": 1})
        assert (outcome.status, outcome.result) == ("COMPLETED", {"out": "777"})
        (place,) = tmp_path.glob("jobs/*/*/work")
        assert (place / "in").read_text() == "7 {'a': 1}"
        assert json.loads((place / "work.json").read_text())["params"] == {"n": 7}
        assert json.loads((place / "COMPLETED").read_text())["pid"]

    def test_each_step_works_in_the_directory(self, work: Callable[..., Outcome]) -> None:
        text = "import os\ndef build(params, config, work_dir): open('b', 'w').write(os.getcwd())\n"
        text += "def run(work_dir): print(open('b').read() == str(work_dir))\n"
        outcome = work(text + "def parse(work_dir): return os.listdir('.').count('b')\n")
        assert (outcome.result, outcome.stdout) == (1, "True\n")

    def test_in_the_place_of_a_run_build_may_write_a_shell_script(self, work: Callable[..., Outcome]) -> None:
        build = (
            "def build(params, config, work_dir): (work_dir / 'run.sh').write_text('echo hi; echo 5 > out')\n"
        )
        outcome = work(build + PARSE)
        assert (outcome.result, outcome.stdout) == ({"out": "5\n"}, "hi\n")

    def test_scripted_outputs_take_the_place_of_a_run_alone(self, work: Callable[..., Outcome]) -> None:
        text = BUILD + "def run(work_dir): raise OSError\n" + PARSE
        assert work(text + FAKE, fake=True).result == {"out": "scripted"}
        fake = "def fake(work_dir): (work_dir / 'out').write_text((work_dir / 'in').read_text())\n"
        assert work(text + fake, fake=True).result == {"out": "7 {}"}
        assert error_of(work(text + FAKE))["type"] == "OSError"

    def test_it_needs_nothing_of_this_package_and_says_how_far_it_is(
        self, work: Callable[..., Outcome], tmp_path: Path
    ) -> None:
        text = "import sys\ndef build(params, config, work_dir): print('::progress 0.5 built')\n"
        text += "def run(work_dir): pass\ndef parse(work_dir): return sorted(sys.modules)\n"
        loaded = work(text).result
        assert [name for name in loaded if name.partition(".")[0] in ("mc", "call_function")] == []
        (progress,) = tmp_path.glob("jobs/*/*/progress.json")
        assert json.loads(progress.read_text())["text"] == "built"


class TestFailures:
    @pytest.mark.parametrize("step", ["build", "run", "parse"])
    def test_the_step_and_the_directory_are_named_and_the_error_keeps_its_own_name(
        self, work: Callable[..., Outcome], tmp_path: Path, step: str
    ) -> None:
        broken = "class Diverged(ArithmeticError):\n    def __init__(self, *, after): self.after = after\n"
        broken += "    def __str__(self): return f'no end after {self.after} steps'\n"
        arguments = "params, config, work_dir" if step == "build" else "work_dir"
        broken += f"def {step}({arguments}): raise Diverged(after=9)\n"
        error = error_of(work(BUILD + RUN + PARSE + broken))
        (place,) = tmp_path.glob("jobs/*/*/work")
        name = next(each.parent.name for each in tmp_path.glob("code/*/task.py"))
        assert error["message"] == f"{step} of '{name}.task' failed in {place}: no end after 9 steps"
        assert error["type"] == "Diverged"
        assert {"Diverged", "ArithmeticError"} <= set(error["types"])
        assert "raise Diverged" in error["traceback"]
        assert (place / "FAILED").exists() == (step == "run")

    def test_an_exit_code_fails_it_by_a_name_of_its_own(self, work: Callable[..., Outcome]) -> None:
        error = error_of(work(BUILD + PARSE + "def run(work_dir): return 3\n"))
        assert error["type"] == "ExitCode3"
        assert "ExitCodeError" in error["types"]
        assert "ended with exit code 3 in " in error["message"]
        error = error_of(work(BUILD + PARSE + "def run(work_dir): return -9\n"))
        assert error["type"] == "KilledBySignal9"

    @pytest.mark.parametrize("value", ["True", "'done'", "[0]"])
    def test_a_run_that_returns_something_else_is_not_taken_for_success(
        self, work: Callable[..., Outcome], value: str
    ) -> None:
        error = error_of(work(BUILD + PARSE + f"def run(work_dir): return {value}\n"))
        assert (
            f"returned a value of type {type(eval(value)).__name__}; expected nothing, or an exit code"
            in (error["message"])
        )

    def test_a_result_that_is_not_json_is_told_with_its_place(self, work: Callable[..., Outcome]) -> None:
        error = error_of(work(BUILD + RUN + "def parse(work_dir): return {'a': [1, {2}]}\n"))
        assert error["type"] == "NotJsonError"
        assert "at /result/a/1 is a value of type set" in error["message"]
        assert re.match(r"'lab\d+\.task:parse' returned what cannot be kept", error["message"])

    def test_names_of_the_directory_itself_are_not_for_builds(self, work: Callable[..., Outcome]) -> None:
        build = "def build(params, config, work_dir): (work_dir / 'stdout').touch()\n"
        assert "wrote 'stdout' into " in error_of(work(build + RUN + PARSE))["message"]

    def test_neither_a_run_nor_a_script_is_told_before_anything_runs(
        self, work: Callable[..., Outcome]
    ) -> None:
        assert (
            "has no run(work_dir), and its build wrote no run.sh"
            in (error_of(work(BUILD + PARSE))["message"])
        )

    def test_a_module_that_is_another_one_where_it_runs(self, work: Callable[..., Outcome]) -> None:
        assert "has no `parse`." in error_of(work(BUILD + RUN))["message"]
        error = error_of(work("import no_such_thing\n"))
        assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'" in error["message"]
        assert error["message"].endswith("or its folder be named in PYTHONPATH there.")


class TestChecks:
    """What is checked in the tick, before there is a job."""

    def check(self, job_type: str, config: Any = None, *, fake: bool = False) -> None:
        finder = CallableFinder([job_type.partition(".")[0]])
        check_job_module(job_type, finder, ModuleSettings(config=config or {}, fake=fake), "big")

    def test_a_config_is_checked_by_the_schema_of_the_module(self, write: Write) -> None:
        schema = "CONFIG_SCHEMA = {'properties': {'cores': {'type': 'integer'}}, 'required': ['cores']}\n"
        job_type = write(BUILD + RUN + PARSE + schema)
        self.check(job_type, {"cores": 4})
        with pytest.raises(JobConfigError) as error:
            self.check(job_type, {"cores": "four"})
        assert error.value.pointers == ["/cores"]
        assert "At /cores: " in error.value.message
        assert "[executors.big.config]" in error.value.message
        with pytest.raises(JobConfigError, match='"cores" missing'):
            self.check(job_type)

    @pytest.mark.parametrize("schema", ["{'type': 'whole'}", "7", "{1: 2}"])
    def test_a_schema_that_is_none_is_told_as_the_fault_of_the_module(
        self, write: Write, schema: str
    ) -> None:
        with pytest.raises(McError, match=r"CONFIG_SCHEMA of 'lab\d+\.task' is no JSON Schema"):
            self.check(write(BUILD + RUN + PARSE + f"CONFIG_SCHEMA = {schema}\n"))

    def test_what_a_module_lacks_is_named(self, write: Write) -> None:
        with pytest.raises(McError, match=r"it has no `build` and no `parse` to call\. A job module has"):
            self.check(write(RUN))
        with pytest.raises(McError, match="has no `fake`, and the executor 'big' is set to"):
            self.check(write(BUILD + RUN + PARSE), fake=True)

    def test_only_what_is_allowed_is_imported(self, write: Write, tmp_path: Path) -> None:
        job_type = write(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
        with pytest.raises(McError, match="which is not allowed"):
            check_job_module(job_type, CallableFinder(["other"]), ModuleSettings(), "big")
        assert not (tmp_path / "imported").exists()

    def test_a_step_that_is_only_imported_from_elsewhere_is_not_allowed(self, write: Write) -> None:
        with pytest.raises(McError, match="which is not allowed"):
            self.check(write(BUILD + PARSE + "from shutil import rmtree as run\n"))

    @pytest.mark.parametrize(
        ("settings", "said"),
        [({"config": 3}, "`config`"), ({"fake": "yes"}, "`fake`"), ({"config": []}, "[]")],
    )
    def test_settings_of_another_kind_are_refused(self, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(McError, match="of the executor 'big' is ") as error:
            JobSettings(executors={"big": settings}).of_modules("big")
        assert said in error.value.message

    def test_an_executor_is_made_without_what_is_for_modules(self) -> None:
        settings = {"local": {"config": {"a": 1}, "fake": True, "max_workers": 3}}
        assert make_executor("local", settings).max_workers == 3
