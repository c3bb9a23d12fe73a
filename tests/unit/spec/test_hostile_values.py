"""Whatever value comes in, validation answers with problems and with nothing else."""

from __future__ import annotations

import math
from collections import OrderedDict, UserDict, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc.errors import SpecError
from mc.spec.problems import join_pointer
from mc.spec.reading.json_tree import make_plain
from mc.spec.validation import find_problems, validate_flow_spec


def nest(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def codes(spec: Any) -> list[tuple[str, str]]:
    return [(problem.code[:5], problem.pointer) for problem in find_problems(spec)]


class TestNotJson:
    @pytest.mark.parametrize(
        "value",
        [
            {1},
            (1,),
            b"x",
            object(),
            datetime(2026, 1, 1, tzinfo=UTC),
            Decimal(1),
            1j,
            range(3),
            int,
            UserDict(),
        ],
    )
    def test_a_python_value_that_json_lacks_is_named_with_its_place(self, value: Any) -> None:
        (problem,) = find_problems({"data": {"x": [0, value]}})
        assert (problem.code, problem.pointer) == ("MC010 not-json", "/data/x/1")
        assert type(value).__name__ in problem.message

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_numbers_that_are_not_finite_are_found_anywhere(self, value: float) -> None:
        task = {"task_type": "print", "task_params": {"msg": {"a/b": value}}, "data": {"~": value}}
        assert codes({"tasks": [task]}) == [
            ("MC010", "/tasks/0/task_params/msg/a~1b"),
            ("MC010", "/tasks/0/data/~0"),
        ]

    @pytest.mark.parametrize("key", [1, None, True, 1.5, (1, 2), b"x"])
    def test_keys_that_are_not_text_are_problems_and_the_rest_is_checked(self, key: Any) -> None:
        found = codes({key: 1, "labl": 1})
        assert [code for code, _ in found] == ["MC010", "MC003"]
        assert found[1][1] == "/labl"

    @pytest.mark.parametrize("value", [None, [], "x", 5, True, 1.5])
    def test_what_is_not_a_mapping_is_no_spec(self, value: Any) -> None:
        assert codes(value) == [("MC001", "")]

    @pytest.mark.parametrize("value", [{1, 2}, object(), math.nan])
    def test_what_is_not_json_at_all_is_one_problem(self, value: Any) -> None:
        assert codes(value) == [("MC010", "")]

    def test_halves_of_surrogate_pairs_are_found_in_texts_and_keys(self) -> None:
        spec = {"label": "\ud800", "data": {"\udfff": 1}}
        assert {code for code, _ in codes(spec)} == {"MC010"}
        for problem in find_problems(spec):
            str(problem).encode()

    def test_integers_that_no_text_can_hold_are_found(self) -> None:
        assert codes({"data": {"n": 10**5000}}) == [("MC010", "/data/n")]

    def test_a_replaced_value_is_no_second_problem(self) -> None:
        assert codes({"tasks": {1, 2}}) == [("MC010", "/tasks")]


class TestShape:
    @pytest.mark.parametrize("depth", [201, 1_000, 100_000])
    def test_deep_nesting_is_a_problem(self, depth: int) -> None:
        found = codes({"data": {"x": nest(depth)}})
        assert [code for code, _ in found] == ["MC011"]

    def test_two_hundred_levels_are_taken_and_one_more_is_not(self) -> None:
        assert codes({"data": {"x": nest(197)}}) == []
        assert [code for code, _ in codes({"data": {"x": nest(198)}})] == ["MC011"]

    def test_a_value_that_contains_itself_is_a_problem(self) -> None:
        spec: dict[str, Any] = {"tasks": []}
        spec["tasks"].append(spec)
        assert codes(spec) == [("MC013", "/tasks/0")]

    def test_a_shared_value_is_no_circle(self) -> None:
        cfg = {"priority": 1}
        tasks = [{"task_type": "noop", "cfg": cfg}, {"task_type": "noop", "cfg": cfg}]
        assert codes({"tasks": tasks}) == []

    def test_shared_parts_that_multiply_are_a_problem(self) -> None:
        value: list[Any] = []
        for _ in range(150):
            value = [value, value]
        assert [code for code, _ in codes({"data": {"x": value}})] == ["MC012"]

    def test_conditions_inside_each_other_end_in_an_answer(self) -> None:
        condition: dict[str, Any] = {"value": 1, "op": "eq", "arg": 1}
        for _ in range(190):
            condition = {"not": condition}
        found = codes({"tasks": [{"task_type": "noop", "cfg": {"when": condition}}]})
        assert {code for code, _ in found} <= {"MC011"}

    def test_flows_inside_each_other_do_not_recurse(self) -> None:
        flow: dict[str, Any] = {"tasks": [{"task_type": "prnt"}]}
        for _ in range(48):
            flow = {"tasks": [{"task_type": "inline_flow", "task_params": {"flow_spec": flow}}]}
        ((code, pointer),) = codes(flow)
        assert code == "MC111"
        assert pointer == "/tasks/0/task_params/flow_spec" * 48 + "/tasks/0/task_type"


class TestReports:
    def test_huge_texts_are_shortened(self) -> None:
        huge = "x" * 20_000_000
        spec = {
            "label": 1,
            huge: huge,
            "tasks": [{"key": huge + "!", "task_type": huge, "precursors": [huge]}, huge],
        }
        problems = find_problems(spec)
        assert len(problems) == 6
        assert max(len(str(problem.to_dict())) for problem in problems) < 2_000

    def test_the_error_of_ten_thousand_problems_is_short(self) -> None:
        with pytest.raises(SpecError) as caught:
            validate_flow_spec(
                {"tasks": [{"task_type": "noop", "precursors": [f"x{at}"]} for at in range(10_000)]}
            )
        assert len(caught.value.problems) == 10_000
        assert len(str(caught.value)) < 10_000

    def test_control_characters_are_escaped(self) -> None:
        (problem,) = find_problems({"tasks": [{"task_type": "\x1b[31m\n"}]})
        assert problem.message.isprintable()


class Word(StrEnum):
    NOOP = "noop"


class Number(IntEnum):
    THREE = 3


class RaisingDict(dict[Any, Any]):
    def __raise(self, *_: Any) -> Any:
        raise RuntimeError

    __len__ = __iter__ = __getitem__ = __contains__ = get = items = keys = values = __raise


class RaisingList(list[Any]):
    def __raise(self, *_: Any) -> Any:
        raise RuntimeError

    __len__ = __iter__ = __getitem__ = __contains__ = __raise


class RaisingText(str):
    __slots__ = ()

    def __raise(self, *_: Any) -> Any:
        raise RuntimeError

    __len__ = __eq__ = __str__ = __repr__ = startswith = isascii = encode = __raise
    __hash__ = str.__hash__


class TestSubclasses:
    def test_subclasses_of_json_types_are_what_they_extend(self) -> None:
        task = OrderedDict(key=Word.NOOP, task_type=Word.NOOP, cfg={"priority": Number.THREE})
        assert codes(defaultdict(list, tasks=[task])) == []

    def test_nothing_that_a_subclass_defines_is_called(self) -> None:
        task = RaisingDict(key=RaisingText("a"), task_type=RaisingText("nop"))
        assert codes(RaisingDict(tasks=RaisingList([task]))) == [("MC111", "/tasks/0/task_type")]


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=5),
        st.binary(max_size=2),
        st.sampled_from(["tasks", "key", "task_type", "flow", "$ctx.", "${ctx.", "$ctx.flow.tasks.x", "=>"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.sets(st.integers(), max_size=2),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
        st.fixed_dictionaries(
            {},
            optional={"tasks": st.lists(inner, max_size=3), "cfg": inner, "params": inner, "results": inner},
        ),
        st.fixed_dictionaries(
            {"task_type": st.sampled_from(["flow", "switch", "spread", "loop", "wire", "wait", "call"])},
            optional={
                "key": inner,
                "task_params": st.fixed_dictionaries(
                    {},
                    optional={
                        "flow_spec": inner,
                        "mapping_params": st.fixed_dictionaries(
                            {}, optional={"skeleton": inner, "wirings": inner}
                        ),
                        "wirings": st.lists(inner, max_size=2),
                        "cases": st.lists(
                            st.fixed_dictionaries({}, optional={"task": inner, "condition": inner}),
                            max_size=2,
                        ),
                        "while": inner,
                        "until": inner,
                        "duration": inner,
                    },
                ),
                "precursors": inner,
                "cfg": st.fixed_dictionaries(
                    {}, optional={"when": inner, "retry": inner, "start_when": inner}
                ),
            },
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(anything)
def test_any_value_gives_a_list_of_problems_that_can_be_printed(value: Any) -> None:
    for problem in find_problems(value):
        assert str(problem).encode()
        assert problem.pointer == "" or problem.pointer.startswith("/")


@given(anything)
def test_what_is_left_of_any_value_is_plain_json(value: Any) -> None:
    import json

    plain, problems = make_plain(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    again, more = make_plain(plain)
    assert again is plain
    assert more == []
    if not problems:
        assert plain == value


def test_pointers_escape_what_json_pointers_escape() -> None:
    assert join_pointer("/a", "x/y~z", 0) == "/a/x~1y~0z/0"
