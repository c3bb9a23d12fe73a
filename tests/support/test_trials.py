"""Trials: what `make test` draws of them, and what `make reliability` carries out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.support import trials

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[2]

SOURCE = """
    import pytest

    @pytest.mark.reliability(sample=2, of_each="database")
    @pytest.mark.parametrize("database", ["here", "there"])
    @pytest.mark.parametrize("operation", range(50))
    def test_long(operation, database, trial):
        assert trial.size(1_000, 10) in (1_000, 10)

    @pytest.mark.reliability
    @pytest.mark.parametrize("number", range(3))
    def test_of_many_sizes(number):
        pass

    def test_short():
        pass
"""
Run = Callable[..., list[str]]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the tests and returns the names of those that came to an outcome."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("MC_TEST_SEED", raising=False)
    pytester.makeini("[pytest]\nmarkers = reliability\nfilterwarnings = error\n")
    pytester.makepyfile(test_it=SOURCE)

    def run(*arguments: str, drawn_by: str = "a commit", outcome: str = "PASSED") -> list[str]:
        options = ["-p", "pytest_timeout", "-p", "no:cacheprovider", "-v", f"--drawn-by={drawn_by}"]
        ended = pytester.runpytest_inprocess(*options, *arguments, plugins=[trials])
        return re.findall(rf"::(\S+) {outcome}", ended.stdout.str())

    return run


def test_a_sample_has_some_cases_of_each_kind_and_whatever_is_short(run: Run) -> None:
    names = run()
    assert sum(name.endswith("-here]") for name in names) == 2
    assert sum(name.endswith("-there]") for name in names) == 2
    assert {name for name in names if "test_long" not in name} == {
        *(f"test_of_many_sizes[{number}]" for number in range(3)),
        "test_short",
    }
    assert len(names) == 8


def test_the_same_commit_draws_the_same_and_another_one_something_else(run: Run) -> None:
    assert run() == run()
    assert len({tuple(run(drawn_by=f"commit {number}")) for number in range(4)}) > 1


def test_the_whole_of_the_trials_is_all_cases_and_nothing_that_is_short(run: Run) -> None:
    names = run("--trials=all", "-m", "reliability")
    assert len(names) == 2 * 50 + 3


def test_a_case_that_is_named_is_carried_out(run: Run) -> None:
    case = "test_long[49-here]"
    assert run(f"test_it.py::{case}") == [case]


def test_no_trial_begins_when_the_time_is_up_and_none_counts_as_skipped(run: Run) -> None:
    late = ["--trials=all", "-m", "reliability", "--minutes=-1"]
    assert run(*late) == []
    assert run(*late, outcome="SKIPPED") == []


def test_trials_of_which_only_some_fit_come_in_an_order_that_is_drawn(run: Run) -> None:
    ones, others = (run("--trials=all", "--minutes=9", drawn_by=commit) for commit in ("one", "another"))
    assert ones != others
    assert sorted(ones) == sorted(others)


def test_no_test_is_skipped_but_where_its_machine_lacks_something() -> None:
    skips = re.compile(r"pytest\.(skip|xfail|importorskip)\(|mark\.(skip|skipif|xfail)\b|unittest\.skip")
    found = {path.name for path in (ROOT / "tests").rglob("*.py") if skips.search(path.read_text())}
    assert found == {"left_out.py"}


def test_a_sample_is_smaller_than_a_whole_trial() -> None:
    whole, sample = (trials.Trial(whole=whole, random=Random(1)) for whole in (True, False))
    assert (whole.size(9, 2), sample.size(9, 2)) == (9, 2)


def test_workers_begin_trials_until_the_time_is_up() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "1",
        "--trials=all",
        "tests/properties/test_plans.py",
    ]
    for minutes, told in (
        ("9", r"(\d+) of \1 trials began.*^\1 passed in"),
        ("-1", "0 of [1-9].*no tests ran"),
    ):
        done = subprocess.run(
            [*command, "--minutes", minutes],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert re.search(told, done.stdout, re.MULTILINE | re.DOTALL), done.stdout
