"""Each wrong spec in specs/invalid gives exactly the problems written beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mc.spec.codes import CODE_SENTENCES
from mc.spec.reading.reading import read_spec_file
from mc.spec.validation import find_problems

FOLDER = Path(__file__).parents[3] / "specs" / "invalid"
SPECS = sorted(path for path in FOLDER.glob("*.json") if not path.name.endswith(".problems.json"))
# These need a value that no JSON file holds, a registry, or `data`; other tests give them.
NOT_IN_FILES = {"MC010", "MC011", "MC012", "MC013", "MC020", "MC021", "MC022", "MC112", "MC113", "MC161"}


def expected_problems(path: Path) -> list[dict[str, str]]:
    expected: list[dict[str, str]] = json.loads(path.with_suffix(".problems.json").read_text())
    return expected


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_wrong_spec_gives_exactly_its_problems(path: Path) -> None:
    found = [
        {"code": problem.code, "pointer": problem.pointer} for problem in find_problems(read_spec_file(path))
    ]

    def order(problem: dict[str, str]) -> tuple[str, str]:
        return problem["pointer"], problem["code"]

    assert sorted(expected_problems(path), key=order) == sorted(found, key=order)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_problem_says_what_was_found_and_what_was_expected(path: Path) -> None:
    for problem in find_problems(read_spec_file(path)):
        assert problem.found
        assert problem.expected
        assert problem.message.endswith((".", "?"))


def test_the_folder_shows_every_code_that_a_file_can_show() -> None:
    shown = {problem["code"] for path in SPECS for problem in expected_problems(path)}
    assert {code for code in CODE_SENTENCES if code[:5] not in NOT_IN_FILES} == shown
