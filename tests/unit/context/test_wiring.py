"""Wirings: copying values through a context, all or nothing."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.context.wiring import Wiring, map_items, parse_wiring, parse_wirings, run_wirings
from mc.errors import WiringError


class Flow:
    readable_attributes: ClassVar[frozenset[str]] = frozenset({"data", "tasks", "key"})

    def __init__(self, data: dict[str, Any], **tasks: dict[str, Any]) -> None:
        self.key = "flow-1"
        self.data = data
        self.tasks = tasks


def make_ctx(**data: Any) -> dict[str, Any]:
    flow = Flow(data, a={"key": "a", "data": {}, "task_params": {"msg": "old"}}, b={"key": "b"})
    return {"flow": flow, "task": {"key": "a"}}


def state(ctx: dict[str, Any]) -> str:
    """Return all that a wiring could change, the order of keys included."""
    rest = {name: value for name, value in ctx.items() if name != "flow"}
    return repr((ctx["flow"].data, ctx["flow"].tasks, rest))


class TestParseWiring:
    @pytest.mark.parametrize(
        "text",
        ["ctx.a.b => ctx.c.d", "ctx.a.b=>ctx.c.d", "  ctx.a.b   =>ctx.c.d\n"],
    )
    def test_text_is_a_source_and_a_destination(self, text: str) -> None:
        assert parse_wiring(text) == Wiring(source="ctx.a.b", dest="ctx.c.d")

    def test_an_arrow_inside_a_quoted_key_belongs_to_the_key(self) -> None:
        source, dest = r'ctx.a["=> \" =>"]', "ctx.b['=>']"
        wiring = parse_wiring(f"{source} => {dest}")
        assert (wiring.source, wiring.dest) == (source, dest)

    def test_a_mapping_has_a_source_or_a_value(self) -> None:
        assert parse_wiring({"source": "ctx.a", "dest": "ctx.b"}) == Wiring(source="ctx.a", dest="ctx.b")
        assert parse_wiring({"value": None, "dest": "ctx.b"}) == Wiring(source=None, value=None, dest="ctx.b")

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ("ctx.a", "0 arrows"),
            ("ctx.a => ctx.b => ctx.c", "2 arrows"),
            ("a => ctx.b", "must begin with `ctx`"),
            ("ctx.a => ", "must begin with `ctx`"),
            ("$ctx.a => ctx.b", "without the dollar"),
            ("ctx.a => ctx._b", "underscore"),
            (7, "not number"),
            (None, "not null"),
            ({"source": "ctx.a"}, "needs dest"),
            ({"dest": "ctx.a"}, "either a source"),
            ({"source": "ctx.a", "value": 1, "dest": "ctx.b"}, "either a source"),
            ({"source": 1, "dest": "ctx.b"}, "not number"),
            ({"source": "ctx.a", "dst": "ctx.b"}, "Did you mean 'dest'"),
            ({"source": "ctx.a", "dest": "ctx.b", 1: 2}, "unknown key '1'"),
            ({"source": "ctx.a", "dest": "ctx.b", "transform": "json.dump"}, "Did you mean 'json.dumps'"),
            ({"source": "ctx.a", "dest": "ctx.b", "transform": 1}, "Unknown transform a number"),
            ({"source": "ctx.a", "dest": "ctx.b", "transform": {"params": {}}}, "needs type"),
            (
                {"source": "ctx.a", "dest": "ctx.b", "transform": {"type": "json.loads", "params": []}},
                "mapping",
            ),
            (
                {"source": "ctx.a", "dest": "ctx.b", "transform": {"type": "json.loads", "params": {"x": 1}}},
                "none",
            ),
            ({"source": "ctx.a", "dest": "ctx.b", "transform": "mapping"}, "needs skeleton and wirings"),
            (
                {
                    "source": "ctx.a",
                    "dest": "ctx.b",
                    "transform": {"type": "mapping", "params": {"skeleton": {}, "wirings": ["x"]}},
                },
                "Wiring 1: ",
            ),
        ],
    )
    def test_what_is_wrong_is_said(self, item: object, message: str) -> None:
        with pytest.raises(WiringError) as caught:
            parse_wiring(item)
        assert message in str(caught.value)

    def test_a_wrong_one_in_a_list_is_named_by_its_number(self) -> None:
        with pytest.raises(WiringError, match="Wiring 2: "):
            parse_wirings(["ctx.a => ctx.b", "ctx.a"])
        with pytest.raises(WiringError, match="are a list, not text"):
            parse_wirings("ctx.a => ctx.b")


class TestRunWirings:
    def test_values_are_copied_to_flow_data_and_to_tasks(self) -> None:
        ctx = make_ctx(rows=[1])
        run_wirings(
            [
                "ctx.flow.data.rows => ctx.flow.data.copied",
                "ctx.flow.key => ctx.flow.tasks.a.data.flow_key",
                {"value": "new", "dest": "ctx.flow.tasks.a.task_params.msg"},
            ],
            ctx,
        )
        ctx["flow"].data["rows"].append(2)
        assert ctx["flow"].data == {"rows": [1, 2], "copied": [1]}
        assert ctx["flow"].tasks["a"] == {
            "key": "a",
            "data": {"flow_key": "flow-1"},
            "task_params": {"msg": "new"},
        }

    def test_a_literal_value_is_copied_and_its_dollars_are_left_alone(self) -> None:
        ctx = make_ctx()
        value = {"x": ["$ctx.task.key"]}
        run_wirings([{"value": value, "dest": "ctx.flow.data.v"}], ctx)
        assert ctx["flow"].data["v"] == {"x": ["$ctx.task.key"]}
        ctx["flow"].data["v"]["x"].append(1)
        assert value == {"x": ["$ctx.task.key"]}

    def test_missing_steps_become_dicts(self) -> None:
        ctx = make_ctx()
        run_wirings([{"value": 1, "dest": 'ctx.flow.data.x.0["y.z"]'}], ctx)
        assert ctx["flow"].data == {"x": {"0": {"y.z": 1}}}

    def test_a_task_without_data_gets_it(self) -> None:
        ctx = make_ctx()
        run_wirings([{"value": 1, "dest": "ctx.flow.tasks.b.data.x"}], ctx)
        assert ctx["flow"].tasks["b"] == {"key": "b", "data": {"x": 1}}

    def test_numbers_replace_list_items_and_append_at_the_end(self) -> None:
        ctx = make_ctx(rows=[{"x": 1}, 2])
        run_wirings(
            [
                {"value": 9, "dest": "ctx.flow.data.rows.0.x"},
                {"value": 8, "dest": "ctx.flow.data.rows.1"},
                {"value": 7, "dest": "ctx.flow.data.rows.2"},
                {"value": 6, "dest": "ctx.flow.data.rows[3].y"},
            ],
            ctx,
        )
        assert ctx["flow"].data == {"rows": [{"x": 9}, 8, 7, {"y": 6}]}

    def test_a_later_wiring_sees_what_an_earlier_one_wrote(self) -> None:
        ctx = make_ctx(x=1)
        run_wirings(["ctx.flow.data.x => ctx.flow.data.y.z", "ctx.flow.data.y => ctx.flow.data.w"], ctx)
        assert ctx["flow"].data == {"x": 1, "y": {"z": 1}, "w": {"z": 1}}

    @pytest.mark.parametrize(
        "dest",
        [
            "ctx",
            "ctx.flow",
            "ctx.flow.key",
            "ctx.flow.data",
            "ctx.flow.tasks",
            "ctx.flow.tasks.a",
            "ctx.flow.tasks.a.data",
            "ctx.flow.tasks.a.status",
            "ctx.flow.tasks.a.cfg.retry",
            "ctx.flow.tasks.c",
            "ctx.task.data.x",
            "ctx.skeleton.x",
        ],
    )
    def test_other_places_cannot_be_written(self, dest: str) -> None:
        ctx = make_ctx()
        before = state(ctx)
        with pytest.raises(WiringError, match=r"may write below ctx\.flow\.data, "):
            run_wirings([{"value": 1, "dest": dest}], ctx)
        assert state(ctx) == before

    @pytest.mark.parametrize(
        ("dest", "message"),
        [
            ("ctx.flow.tasks.c.data.x", "there is no 'c'"),
            ("ctx.flow.data.text.x", "'ctx.flow.data.text' is text"),
            ("ctx.flow.data.none.x.y", "'ctx.flow.data.none' is null"),
            ("ctx.flow.data.rows.x", "is a list of length 1"),
            ("ctx.flow.data.rows.x.y", "is a list of length 1"),
            ("ctx.flow.data.rows.2", "not '2'"),
            ("ctx.flow.data.rows.2.y", "not '2'"),
            ("ctx.flow.tasks.a.data.x.y.z", "'ctx.flow.tasks.a.data.x' is number"),
        ],
    )
    def test_a_destination_that_cannot_be_written_is_named(self, dest: str, message: str) -> None:
        ctx = make_ctx(text="t", none=None, rows=[0])
        ctx["flow"].tasks["a"]["data"]["x"] = 1
        before = state(ctx)
        with pytest.raises(WiringError) as caught:
            run_wirings([{"value": 1, "dest": "ctx.flow.data.rows.0"}, {"value": 1, "dest": dest}], ctx)
        assert message in str(caught.value)
        assert "Wiring 2 ('value => " in str(caught.value)
        assert state(ctx) == before

    def test_a_missing_source_is_named_and_nothing_is_written(self) -> None:
        ctx = make_ctx(x=1)
        before = state(ctx)
        with pytest.raises(WiringError, match="Wiring 2") as caught:
            run_wirings(["ctx.flow.data.x => ctx.flow.data.y", "ctx.flow.data.z => ctx.flow.data.w"], ctx)
        assert (caught.value.path, caught.value.missing_step) == ("ctx.flow.data.z", "z")
        assert state(ctx) == before

    @pytest.mark.parametrize(("levels", "steps"), [(0, 300), (190, 10), (100, 100)])
    def test_data_cannot_be_made_to_nest_too_deep(self, levels: int, steps: int) -> None:
        ctx = make_ctx()
        value: Any = 1
        for _ in range(levels):
            value = {"x": value}
        with pytest.raises(WiringError, match="nest deeper"):
            run_wirings([{"value": value, "dest": "ctx.flow.data" + ".a" * steps}], ctx)
        assert ctx["flow"].data == {}

    def test_a_malformed_wiring_keeps_the_others_from_being_run(self) -> None:
        ctx = make_ctx()
        with pytest.raises(WiringError):
            run_wirings([{"value": 1, "dest": "ctx.flow.data.x"}, "nonsense"], ctx)
        assert ctx["flow"].data == {}

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["", "ctx.flow.data.x", "ctx.flow.data.l", "ctx.flow.data.d", "ctx.flow.tasks.a"]
                ),
                st.sampled_from(
                    ["x", "l.0", "l.1", "l.2", "l.0.x", "d.e", "d.n.m", "new", "new.er", "x.y", "d"]
                ),
                st.sampled_from(
                    ["ctx.flow.data.", "ctx.flow.tasks.a.data.", "ctx.flow.tasks.b.task_params."]
                ),
            ),
            max_size=6,
        ),
    )
    def test_all_or_nothing(self, moves: list[tuple[str, str, str]]) -> None:
        wirings = [
            {"dest": root + dest, **({"source": source} if source else {"value": {"v": [1]}})}
            for source, dest, root in moves
        ]
        one_by_one = make_ctx(x=1, l=[0, [1]], d={"e": 2})
        at_once = copy.deepcopy(one_by_one)
        before = state(at_once)
        try:
            run_wirings(wirings, at_once)
        except WiringError:
            assert state(at_once) == before
        else:
            for wiring in wirings:
                run_wirings([wiring], one_by_one)
            assert state(at_once) == state(one_by_one)


class TestTransforms:
    def test_json_text_is_written_and_read(self) -> None:
        ctx = make_ctx(x={"b": [1, "é"], "a": None})
        run_wirings(
            [
                {"source": "ctx.flow.data.x", "dest": "ctx.flow.data.text", "transform": "json.dumps"},
                {
                    "source": "ctx.flow.data.text",
                    "dest": "ctx.flow.data.y",
                    "transform": {"type": "json.loads"},
                },
            ],
            ctx,
        )
        assert ctx["flow"].data["text"] == '{"b":[1,"é"],"a":null}'
        assert ctx["flow"].data["y"] == ctx["flow"].data["x"]

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ('{"a": x}', "line 1, column 7"),
            (1, "reads text, not number"),
            ("1e999", "1e999 is too large"),
            ('"\\ud800"', "surrogate"),
        ],
    )
    def test_text_that_is_not_json_is_an_error(self, value: object, message: str) -> None:
        wiring = {"value": value, "dest": "ctx.flow.data.y", "transform": "json.loads"}
        with pytest.raises(WiringError) as caught:
            run_wirings([wiring], make_ctx())
        assert message in str(caught.value)

    def test_the_position_in_bad_text_is_at_hand(self) -> None:
        wiring = {"value": "[\n x]", "dest": "ctx.flow.data.y", "transform": "json.loads"}
        with pytest.raises(WiringError) as caught:
            run_wirings([wiring], make_ctx())
        assert (caught.value.line, caught.value.column, caught.value.position) == (2, 2, 3)

    @pytest.mark.parametrize(
        ("items", "result"),
        [
            (["x", "y"], [{"k": 0, "v": "x", "i": 0, "n": 1}, {"k": 1, "v": "y", "i": 1, "n": 1}]),
            ({"p": "x"}, {"p": {"k": "p", "v": "x", "i": 0, "n": 1}}),
            ([], []),
            ({}, {}),
        ],
    )
    def test_a_mapping_makes_a_skeleton_per_item(self, items: Any, result: Any) -> None:
        ctx = make_ctx(items=items)
        params = {
            "skeleton": {"k": None, "v": None, "i": None, "n": 1},
            "wirings": [
                "ctx.item.key => ctx.skeleton.k",
                "ctx.item.value => ctx.skeleton.v",
                "ctx.item.idx => ctx.skeleton.i",
            ],
        }
        transform = {"type": "mapping", "params": params}
        run_wirings(
            [{"source": "ctx.flow.data.items", "dest": "ctx.flow.data.out", "transform": transform}], ctx
        )
        assert ctx["flow"].data["out"] == result
        assert params["skeleton"] == {"k": None, "v": None, "i": None, "n": 1}

    def test_mappings_can_be_nested(self) -> None:
        inner = {
            "type": "mapping",
            "params": {"skeleton": {}, "wirings": ["ctx.item.value => ctx.skeleton.v"]},
        }
        outer = {
            "type": "mapping",
            "params": {
                "skeleton": {},
                "wirings": [
                    {"source": "ctx.item.value", "dest": "ctx.skeleton.inner", "transform": inner},
                    "ctx.item.idx => ctx.skeleton.idx",
                ],
            },
        }
        ctx = make_ctx()
        run_wirings([{"value": [[1, 2]], "dest": "ctx.flow.data.out", "transform": outer}], ctx)
        assert ctx["flow"].data["out"] == [{"inner": [{"v": 1}, {"v": 2}], "idx": 0}]

    def test_a_failing_item_takes_back_what_other_items_wrote(self) -> None:
        params = {
            "skeleton": {},
            "wirings": ["ctx.item.value => ctx.flow.data.seen", "ctx.item.value.x => ctx.skeleton.x"],
        }
        ctx = make_ctx()
        before = state(ctx)
        transform = {"type": "mapping", "params": params}
        with pytest.raises(WiringError, match=r"Wiring 1 .*Item '1': Wiring 2 .*there is no 'x'"):
            run_wirings([{"value": [{"x": 1}, {}], "dest": "ctx.flow.data.out", "transform": transform}], ctx)
        assert state(ctx) == before

    def test_only_lists_and_mappings_have_items(self) -> None:
        with pytest.raises(WiringError, match="not text"):
            map_items("text", {}, [], make_ctx())


class TestMapItems:
    def test_a_skeleton_is_not_replaced_as_a_whole(self) -> None:
        with pytest.raises(WiringError, match=r"may write below .*ctx\.skeleton"):
            map_items([1], {}, [{"value": 1, "dest": "ctx.skeleton"}], make_ctx())

    def test_each_item_fills_a_copy_of_the_skeleton(self) -> None:
        ctx = make_ctx(prefix="p")
        skeleton = {"task_type": "print", "task_params": {}}
        items = {"a": [1], "b": [2]}
        made = map_items(
            items,
            skeleton,
            [
                "ctx.item.value => ctx.skeleton.task_params.msg",
                "ctx.flow.data.prefix => ctx.skeleton.data.prefix",
                "ctx.items.a.0 => ctx.skeleton.data.first",
                "ctx.skeleton.task_type => ctx.skeleton.label",
            ],
            ctx,
        )
        assert made == [
            {
                "task_type": "print",
                "task_params": {"msg": value},
                "data": {"prefix": "p", "first": 1},
                "label": "print",
            }
            for value in ([1], [2])
        ]
        made[0]["task_params"]["msg"].append(9)
        assert items == {"a": [1], "b": [2]}
        assert skeleton == {"task_type": "print", "task_params": {}}
        assert set(ctx) == {"flow", "task"}

    def test_a_failure_names_the_item_and_leaves_the_context_as_it_was(self) -> None:
        ctx = make_ctx()
        before = state(ctx)
        wirings = ["ctx.item.idx => ctx.flow.data.last", "ctx.item.value.x => ctx.skeleton.x"]
        with pytest.raises(WiringError, match="Item 'q'") as caught:
            map_items({"p": {"x": 1}, "q": {}}, {}, wirings, ctx)
        assert caught.value.missing_step == "x"
        assert state(ctx) == before
