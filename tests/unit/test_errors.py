"""The errors: one tree, messages that say what to do, details as attributes."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator

import pytest

from mc import errors
from mc.errors import McError, PathError, Problem, SpecError, SpecSyntaxError


def tree(cls: type[McError]) -> Iterator[type[McError]]:
    yield cls
    for below in cls.__subclasses__():
        if below.__module__ == "mc.errors":
            yield from tree(below)


ERRORS = list(tree(McError))
NAMES = [cls.__name__ for cls in ERRORS]


def test_all_errors_are_in_one_tree() -> None:
    assert set(NAMES) | {"Obstacle", "Problem"} == set(errors.__all__)


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = [line.lstrip(" │├└─").split(" ")[0] for line in errors.__doc__.splitlines() if "Error" in line]
    assert sorted(drawn) == sorted(NAMES)
    for line in errors.__doc__.splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        if name in NAMES and name != "McError":
            depth = (len(line) - len(line.lstrip(" │├└─")) - 4) // 4
            cls = getattr(errors, name)
            assert len(cls.__mro__) - len(McError.__mro__) == depth, name


def test_codes_are_stable_names_and_unique() -> None:
    codes = [cls.code for cls in ERRORS]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)


@pytest.mark.parametrize(
    "cls", [cls for cls in ERRORS if cls is not SpecSyntaxError], ids=lambda cls: cls.__name__
)
def test_the_docstring_is_the_default_message(cls: type[McError]) -> None:
    assert str(cls()) == (cls.__doc__ or "").splitlines()[0]
    assert str(cls("mine")) == cls("mine").message == "mine"


def test_details_are_attributes() -> None:
    error = PathError("gone", path="ctx.a.b", missing_step="b")
    assert (error.path, error.missing_step) == ("ctx.a.b", "b")
    with pytest.raises(AttributeError, match="PathError has no attribute 'colour'"):
        _ = error.colour


def test_an_error_is_json_safe() -> None:
    error = PathError("gone", path="ctx.a", missing_step=None, odd=object())
    assert error.to_dict() == {
        "error": {"code": "path-not-found", "message": "gone", "path": "ctx.a", "missing_step": None}
    }
    json.dumps(error.to_dict())


def test_an_error_without_details_can_be_asked_for_them_at_any_time() -> None:
    bare = PathError.__new__(PathError)
    with pytest.raises(AttributeError):
        _ = bare.path


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_can_be_copied_and_sent_to_another_process(again: object) -> None:
    assert callable(again)
    error = again(PathError("gone", path="ctx.a"))
    assert (type(error), error.message, error.path) == (PathError, "gone", "ctx.a")


class TestSpecErrors:
    PROBLEM = Problem(code="MC101 unknown-precursor", pointer="/tasks/0", message="Wrong.", suggestion="a")

    def test_all_problems_are_listed(self) -> None:
        error = SpecError(problems=[self.PROBLEM, Problem(code="X", pointer="", message="Bad.")])
        assert str(error) == (
            "The flow spec has 2 problems:\n"
            "  /tasks/0: Wrong. [MC101 unknown-precursor] Did you mean 'a'?\n"
            "  /: Bad. [X]"
        )

    def test_one_problem_is_one_problem(self) -> None:
        assert str(SpecError(problems=[self.PROBLEM])).startswith("The flow spec has 1 problem:")

    def test_only_the_first_twenty_are_shown_and_all_are_kept(self) -> None:
        error = SpecError(problems=[self.PROBLEM] * 25)
        assert str(error).endswith("... and 5 more")
        assert len(error.problems) == 25

    def test_problems_are_in_the_json(self) -> None:
        shape = SpecError(problems=[self.PROBLEM]).to_dict()["error"]
        assert shape["code"] == "invalid-spec"
        assert shape["problems"] == [
            {
                "code": "MC101 unknown-precursor",
                "pointer": "/tasks/0",
                "message": "Wrong.",
                "found": None,
                "expected": None,
                "suggestion": "a",
                "line": None,
                "column": None,
            }
        ]

    def test_a_syntax_error_knows_line_and_column(self) -> None:
        error = SpecSyntaxError("no JSON", line=3, column=7)
        assert (error.line, error.column, error.message, error.problems) == (3, 7, "no JSON", ())
        assert isinstance(error, SpecError)
