"""References inside values."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mc.context.interpolation import find_references, has_references, interpolate, unescape
from mc.context.paths import parse_path
from mc.errors import NotJsonError, PathError

CTX: dict[str, Any] = {
    "a": {"n": 1, "f": 1.5, "t": "text", "yes": True, "none": None, "rows": [{"id": 7}], "x.y": "dotted"},
    "ref": "$ctx.a.n",
    "braces": "${ctx.a.n}",
    "}": "brace",
}
PIECES = st.sampled_from(
    [
        "$ctx.a.n",
        "$ctx.a.rows",
        "${ctx.a.t}",
        "${ctx.ref}",
        "\\$",
        "$",
        "{",
        "}",
        "\\",
        "text ",
        "$ctx",
        "${ctx.",
        '"',
    ]
)
TEXTS = st.lists(PIECES, max_size=4).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


class TestWholeValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("$ctx.a.n", 1),
            ("$ctx.a.none", None),
            ("$ctx.a.yes", True),
            ("$ctx.a.rows", [{"id": 7}]),
            ("$ctx.a.rows.0.id", 7),
            ('$ctx.a["x.y"]', "dotted"),
        ],
    )
    def test_a_reference_is_replaced_by_the_value_with_its_type(self, text: str, value: Any) -> None:
        found = interpolate(text, CTX)
        assert (found, type(found)) == (value, type(value))

    def test_references_inside_lists_and_mappings_are_replaced(self) -> None:
        assert interpolate({"x": ["$ctx.a.n", {"y": "$ctx.a.t"}]}, CTX) == {"x": [1, {"y": "text"}]}

    def test_the_value_is_a_copy(self) -> None:
        ctx = copy.deepcopy(CTX)
        found = interpolate({"rows": "$ctx.a.rows"}, ctx)
        found["rows"][0]["id"] = 8
        assert ctx == CTX

    def test_what_was_read_is_not_looked_at_again(self) -> None:
        assert interpolate("$ctx.ref", CTX) == "$ctx.a.n"
        assert interpolate("<${ctx.braces}${ctx.ref}>", CTX) == "<${ctx.a.n}$ctx.a.n>"

    def test_keys_are_left_as_they_are(self) -> None:
        assert interpolate({"$ctx.a.n": "$ctx.a.n"}, CTX) == {"$ctx.a.n": 1}

    @pytest.mark.parametrize("text", ["$ctx.a.n is", "$ctx.", "$ctx..a", "$ctx._a", "$ctx.a.n "])
    def test_a_reference_that_is_not_a_path_is_an_error_not_text(self, text: str) -> None:
        with pytest.raises(PathError):
            interpolate([text], CTX)

    def test_a_missing_step_is_named(self) -> None:
        with pytest.raises(PathError) as caught:
            interpolate({"x": "$ctx.a.nope"}, CTX)
        assert caught.value.missing_step == "nope"


class TestInsideText:
    @pytest.mark.parametrize(
        ("text", "result"),
        [
            ("n=${ctx.a.n}", "n=1"),
            ("${ctx.a.f}", "1.5"),
            ("${ctx.a.t}${ctx.a.t}", "texttext"),
            ("${ctx.a.yes} ${ctx.a.none}", "true null"),
            ("rows: ${ctx.a.rows}", 'rows: [{"id":7}]'),
            ('${ctx.a["x.y"]}!', "dotted!"),
            ("${ctx.a.n }", "1"),
            (
                "<${ctx.a}>",
                '<{"n":1,"f":1.5,"t":"text","yes":true,"none":null,"rows":[{"id":7}],"x.y":"dotted"}>',
            ),
        ],
    )
    def test_a_reference_is_replaced_by_text(self, text: str, result: str) -> None:
        assert interpolate(text, CTX) == result

    def test_a_brace_inside_a_quoted_key_does_not_end_the_reference(self) -> None:
        assert interpolate("${ctx.a['}']}", {"a": {"}": "here"}}) == "here"
        assert interpolate('${ctx.a["\\"}"]}', {"a": {'"}': "here"}}) == "here"

    @pytest.mark.parametrize("text", ["${ctx.a.n", "x ${ctx.a.n and on", '${ctx.a["x}', "${ctx.a.n} ${ctx.a"])
    def test_a_reference_that_does_not_end_is_an_error(self, text: str) -> None:
        with pytest.raises(PathError, match="`}`"):
            interpolate(text, CTX)


class TestDollars:
    @pytest.mark.parametrize(
        ("text", "result"),
        [
            (r"\$ctx.a.n", "$ctx.a.n"),
            (r"\${ctx.a.n}", "${ctx.a.n}"),
            (r"\\$ctx.a.n", r"\$ctx.a.n"),
            (r"C:\\${ctx.a.n}", "C:\\1"),
            (r"C:\\\${ctx.a.n}", r"C:\${ctx.a.n}"),
            (r"C:\\\\${ctx.a.n}", r"C:\\1"),
            (r"C:\\x\y\\$5", r"C:\\x\y\$5"),
            (r"${ctx.a.n}\\${ctx.a.n}", r"1\1"),
            (r"costs \$5 and ${ctx.a.n}", "costs $5 and 1"),
            (r"${ctx.a.n}\$${ctx.a.n}", "1$1"),
        ],
    )
    def test_an_escaped_dollar_is_a_plain_one(self, text: str, result: str) -> None:
        assert interpolate(text, CTX) == result

    @pytest.mark.parametrize(
        "text",
        ["$", "$5", "a $ctx.a.n", "$ctx", "$ctxa", "${HOME}", "$$", "${ ctx.a.n}", "$$ctx.a.n", "$(ls)"],
    )
    def test_any_other_dollar_is_text(self, text: str) -> None:
        assert interpolate(text, CTX) is text
        assert not has_references(text)

    def test_unescape_makes_plain_dollars(self) -> None:
        assert unescape(r"\$ctx.x and \$5") == "$ctx.x and $5"
        assert unescape(r"\\$5 \\\$5 \\x") == r"\$5 \$5 \\x"

    def test_backslashes_before_a_dollar_are_found_as_references_and_written_back(self) -> None:
        assert list(find_references(r"C:\\${ctx.a.n} and \${ctx.a.b}")) == [("", "ctx.a.n")]
        for count in range(6):
            plain = "\\" * count
            assert interpolate("C:" + plain * 2 + "${ctx.a.n}", CTX) == f"C:{plain}1"
            assert interpolate("C:" + plain * 2 + r"\${ctx.a.n}", CTX) == f"C:{plain}${{ctx.a.n}}"


class TestSharing:
    @given(VALUES)
    def test_the_input_is_never_changed(self, value: Any) -> None:
        before = copy.deepcopy(value)
        with suppress(PathError):
            interpolate(value, CTX)
        assert value == before

    @given(VALUES)
    @example({"a": ["no", 1]})
    def test_the_same_object_comes_back_exactly_where_there_is_nothing_to_do(self, value: Any) -> None:
        try:
            found = interpolate(value, CTX)
        except PathError:
            assert has_references(value)
        else:
            assert (found is value) == (not has_references(value))

    def test_skipped_keys_are_left_untouched_in_their_places(self) -> None:
        spec = {"x": "$ctx.nope", "y": r"\$"}
        params = {"a": "$ctx.a.n", "flow_spec": spec, "b": {"flow_spec": "$ctx.a.t"}}
        found = interpolate(params, CTX, skip={"flow_spec"})
        assert found == {"a": 1, "flow_spec": spec, "b": {"flow_spec": "text"}}
        assert list(found) == ["a", "flow_spec", "b"]
        assert found["flow_spec"] is spec

    def test_the_same_object_comes_back_where_all_references_are_skipped(self) -> None:
        params = {"flow_spec": "$ctx.nope", "b": 1}
        assert interpolate(params, CTX, skip=frozenset({"flow_spec"})) is params

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(NotJsonError):
            interpolate(loop, CTX)
        with pytest.raises(NotJsonError):
            has_references(loop)


class TestFindReferences:
    def test_each_reference_is_given_with_its_pointer(self) -> None:
        value = {"a/b": ["$ctx.x", "${ctx.y.0} and ${ctx.z}"], "c": r"\$ctx.no", "d": {"e": '${ctx.a["}"]}'}}
        assert list(find_references(value)) == [
            ("/a~1b/0", "ctx.x"),
            ("/a~1b/1", "ctx.y.0"),
            ("/a~1b/1", "ctx.z"),
            ("/d/e", 'ctx.a["}"]'),
        ]
        assert list(find_references("$ctx.x")) == [("", "ctx.x")]

    @pytest.mark.parametrize("text", ["$ctx.a b", "$ctx.", "x ${ctx.a", "${ctx.a..b}", '${ctx.a["x}'])
    def test_a_malformed_reference_is_one_that_does_not_parse(self, text: str) -> None:
        [(pointer, path_text)] = find_references([text])
        assert pointer == "/0"
        with pytest.raises(PathError):
            parse_path(path_text)

    @given(VALUES)
    def test_what_is_found_is_what_interpolation_reads(self, value: Any) -> None:
        found = [path_text for _, path_text in find_references(value)]
        failed = None
        try:
            interpolate(value, CTX)
        except PathError as error:
            failed = error.path
        else:
            for path_text in found:
                parse_path(path_text)
        assert failed is None or failed in found

    def test_values_without_end_are_survived(self) -> None:
        loop: list[Any] = ["$ctx.x"]
        loop.append(loop)
        deep: Any = "$ctx.too.deep"
        for _ in range(5000):
            deep = [deep]
        assert list(find_references([loop, deep])) == [("/0/0", "ctx.x")]
