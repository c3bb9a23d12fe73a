"""Paths into a context: what they read, and what they never touch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mc.context.paths import format_path, nearest_name, parse_path, quote_for_message, read_copy, read_path
from mc.errors import PathError


class Flow:
    readable_attributes: ClassVar[frozenset[str]] = frozenset({"data", "tasks", "label"})

    def __init__(self, data: Any = None, tasks: Any = None) -> None:
        self.data = data if data is not None else {}
        self.tasks = tasks if tasks is not None else {}
        self.secret = "hidden"
        self.called = False

    def run(self) -> None:
        self.called = True


class LazyTasks(Mapping[str, Any]):
    """A mapping that is not a dict, as a store hands out."""

    def __init__(self, **tasks: Any) -> None:
        self._tasks = tasks

    def __getitem__(self, key: str) -> Any:
        return self._tasks[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


STEP_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(lambda text: text[0] != "_")
STEPS = st.lists(STEP_TEXT | st.integers(0, 10**17), max_size=5).map(lambda steps: ("ctx", *steps))
TREES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.binary(max_size=2) | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "1", "x.y", "_a", 1, None]), inner, max_size=3)
        | st.builds(Flow, inner)
    ),
    max_leaves=8,
)
PATH_PIECES = [*"ab01.[]'_\\ ", '"', ".a", ".b", ".0", "[0]", ".data", "['x.y']"]
PATH_TEXTS = st.lists(st.sampled_from(PATH_PIECES), max_size=6).map("".join)


class TestParsePath:
    @pytest.mark.parametrize(
        ("text", "steps"),
        [
            ("ctx", ("ctx",)),
            ("ctx.flow.tasks.a.data.rows.0.name", ("ctx", "flow", "tasks", "a", "data", "rows", 0, "name")),
            ('ctx.flow.data["a.b"].c', ("ctx", "flow", "data", "a.b", "c")),
            ("ctx.data['a b'][0]", ("ctx", "data", "a b", 0)),
            (r'ctx["say \"x\" \\"]', ("ctx", 'say "x" \\')),
            ('ctx["]"]', ("ctx", "]")),
            ('ctx["0"]', ("ctx", "0")),
            ("ctx.007", ("ctx", "007")),
            ("ctx.-1", ("ctx", "-1")),
            ("ctx.my-key.größe", ("ctx", "my-key", "größe")),
        ],
    )
    def test_steps_are_names_numbers_and_quoted_keys(self, text: str, steps: tuple[Any, ...]) -> None:
        assert parse_path(text) == steps
        assert [type(step) for step in parse_path(text)] == [type(step) for step in steps]

    @pytest.mark.parametrize(
        ("text", "position"),
        [
            ("", 0),
            ("flow.data", 0),
            ("ctxflow", 0),
            (".ctx", 0),
            (" ctx.a", 0),
            ("ctx.", 3),
            ("ctx..a", 3),
            ("ctx.a.", 5),
            ('ctx[""]', 3),
            ("ctx._a", 3),
            ("ctx.a.__class__", 5),
            ('ctx.a["_b"]', 5),
            ("ctx.a b", 5),
            ("ctx.a[", 5),
            ("ctx.a[x]", 5),
            ("ctx.a[01]", 5),
            ("ctx.a[-1]", 5),
            ('ctx.a["b]', 5),
            ("ctx.a]", 5),
            ("ctx.a$", 5),
            ("ctx[0]a", 6),
            ("ctx.a()", None),
        ],
    )
    def test_what_is_not_a_path_is_refused_at_its_position(self, text: str, position: int | None) -> None:
        if position is None:
            assert parse_path(text) == ("ctx", "a()")
            return
        with pytest.raises(PathError) as caught:
            parse_path(text)
        assert (text, position) == (caught.value.path, caught.value.position)

    def test_an_endless_path_is_refused(self) -> None:
        with pytest.raises(PathError, match="10,000 characters") as caught:
            parse_path("ctx" + ".a" * 10_000)
        assert len(str(caught.value)) < 300

    @given(STEPS)
    @example(("ctx", "0"))
    @example(("ctx", '"\\'))
    def test_steps_survive_being_written_and_parsed(self, steps: tuple[Any, ...]) -> None:
        assert parse_path(format_path(steps)) == steps


class TestReadPath:
    def test_mappings_lists_and_declared_attributes_are_read(self) -> None:
        rows = ({"name": "x"},)
        ctx = {"flow": Flow(data={"rows": rows}, tasks=LazyTasks(a={"data": [1, {"0": "zero"}]}))}
        assert read_path(ctx, "ctx") is ctx
        assert read_path(ctx, "ctx.flow.data.rows") is rows
        assert read_path(ctx, "ctx.flow.data.rows.0.name") == "x"
        assert read_path(ctx, "ctx.flow.tasks.a.data[1].0") == "zero"

    def test_a_number_reads_the_mapping_key_of_that_text(self) -> None:
        assert read_path({"a": {"7": "text"}}, "ctx.a.7") == "text"

    def test_keys_that_are_not_text_are_out_of_reach(self) -> None:
        with pytest.raises(PathError):
            read_path({"a": {7: "number"}}, "ctx.a.7")

    @pytest.mark.parametrize("name", ["secret", "run", "called", "readable_attributes"])
    def test_what_a_class_does_not_declare_is_out_of_reach(self, name: str) -> None:
        with pytest.raises(PathError, match="data, label, tasks") as caught:
            read_path({"flow": Flow()}, f"ctx.flow.{name}")
        assert caught.value.missing_step == name

    def test_a_declared_attribute_that_is_not_set_is_missing(self) -> None:
        with pytest.raises(PathError) as caught:
            read_path({"flow": Flow()}, "ctx.flow.label")
        assert caught.value.missing_step == "label"

    def test_an_instance_cannot_declare_itself_readable(self) -> None:
        class Plain:
            pass

        plain = Plain()
        plain.readable_attributes = frozenset({"x"})  # type: ignore[attr-defined]
        plain.x = 1  # type: ignore[attr-defined]
        with pytest.raises(PathError):
            read_path({"a": plain}, "ctx.a.x")

    def test_text_has_no_steps(self) -> None:
        with pytest.raises(PathError, match=r"\(text\) that has no steps"):
            read_path({"a": "abc"}, "ctx.a.0")

    def test_reading_does_not_add_to_a_defaultdict(self) -> None:
        found: defaultdict[str, list[int]] = defaultdict(list)
        with pytest.raises(PathError):
            read_path({"a": found}, "ctx.a.b")
        assert not found

    def test_the_first_missing_step_is_named_with_what_is_there(self) -> None:
        ctx = {"flow": Flow(tasks={"load": {}, "save": {}})}
        with pytest.raises(PathError) as caught:
            read_path(ctx, "ctx.flow.tasks.laod.data.x")
        assert (caught.value.path, caught.value.missing_step) == ("ctx.flow.tasks.laod.data.x", "laod")
        assert str(caught.value) == (
            "Path 'ctx.flow.tasks.laod.data.x': there is no 'laod' in 'ctx.flow.tasks', "
            "a mapping with load, save. Did you mean 'load'?"
        )

    def test_an_index_beyond_the_list_tells_its_length(self) -> None:
        with pytest.raises(PathError, match="a list of length 2"):
            read_path({"a": [1, 2]}, "ctx.a.2")

    def test_a_message_shows_few_names_and_no_values(self) -> None:
        ctx = {"a": {f"key{number}" + "x" * 100: "the value" for number in range(1000)}}
        with pytest.raises(PathError) as caught:
            read_path(ctx, "ctx.a.z")
        assert len(str(caught.value)) < 700
        assert "the value" not in str(caught.value)

    @given(
        st.dictionaries(st.sampled_from(["a", "b", "data", "0"]), TREES, max_size=3),
        PATH_TEXTS.map("ctx".__add__) | st.text(max_size=12),
    )
    def test_nothing_but_a_path_error_comes_out(self, ctx: dict[str, Any], text: str) -> None:
        with suppress(PathError):
            read_path(ctx, text)

    @given(st.dictionaries(st.sampled_from(["a", "b", "data", "0"]), TREES, max_size=3), PATH_TEXTS)
    def test_a_copy_is_plain_or_a_path_error(self, ctx: dict[str, Any], text: str) -> None:
        try:
            value = read_copy(ctx, "ctx" + text)
        except PathError:
            return
        assert not isinstance(value, Flow | bytes)


class TestReadCopy:
    def test_the_value_is_a_copy(self) -> None:
        ctx = {"a": {"b": [1]}}
        found = read_copy(ctx, "ctx.a")
        found["b"].append(2)
        assert ctx == {"a": {"b": [1]}}

    def test_a_mapping_that_is_no_dict_becomes_one(self) -> None:
        tasks = LazyTasks(a=MappingProxyType({"x": (1,)}))
        assert read_copy({"flow": Flow(tasks=tasks)}, "ctx.flow.tasks") == {"a": {"x": [1]}}

    def test_an_object_is_not_a_value_and_its_steps_are_told(self) -> None:
        with pytest.raises(PathError, match="Go on with data, label, tasks"):
            read_copy({"flow": Flow()}, "ctx.flow")
        with pytest.raises(PathError, match="at /flow"):
            read_copy({"parent": {"flow": Flow()}}, "ctx.parent")


def test_a_near_name_is_found_and_a_far_one_is_not() -> None:
    assert nearest_name("laod", ["load", "save"]) == "load"
    assert nearest_name("zzz", ["load", "save"]) is None


def test_a_quoted_text_is_shortened() -> None:
    assert quote_for_message("ab") == "'ab'"
    assert len(quote_for_message("a" * 10_000)) < 200
