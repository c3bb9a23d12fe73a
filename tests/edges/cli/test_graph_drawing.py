from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.cli.printing.graph_drawing import draw_dot, draw_mermaid, draw_text
from mc.cli.printing.output import printable
from mc.flows.flow import Flow

DIAMOND = {
    "key": "diamond",
    "tasks": [
        {"key": "join", "task_type": "noop", "precursors": ["left", "right"]},
        {"key": "begin", "task_type": "noop", "precursors": []},
        {"key": "left", "task_type": "noop", "precursors": ["begin"]},
        {"key": "right", "task_type": "noop", "precursors": ["begin"], "label": "the right one"},
    ],
}


@pytest.fixture
def diamond() -> Flow:
    return Flow.from_flow_spec(DIAMOND)


def flow_with_label(label: str) -> Flow:
    return Flow.from_flow_spec({"tasks": [{"key": "a", "task_type": "noop", "label": label}]})


class TestText:
    def test_tasks_stand_in_an_order_in_which_they_can_run(self, diamond: Flow) -> None:
        assert draw_text(diamond).splitlines() == [
            "begin [PENDING] -> left, right",
            "left [PENDING] -> join",
            "right [PENDING] -> join",
            "join [PENDING]",
        ]

    def test_a_flow_without_tasks_is_an_empty_drawing(self) -> None:
        assert draw_text(Flow()) == ""


class TestMermaid:
    def test_nodes_edges_and_colours_are_drawn(self, diamond: Flow) -> None:
        assert draw_mermaid(diamond).splitlines() == [
            "flowchart TD",
            '    t0["join<br/>PENDING"]:::PENDING',
            '    t1["begin<br/>PENDING"]:::PENDING',
            '    t2["left<br/>PENDING"]:::PENDING',
            '    t3["right<br/>the right one<br/>PENDING"]:::PENDING',
            "    t2 --> t0",
            "    t3 --> t0",
            "    t1 --> t2",
            "    t1 --> t3",
            "    classDef PENDING fill:#eeeeee,stroke:#555555,color:#000000",
        ]

    @given(label=st.text())
    def test_any_label_is_quoted_so_that_it_reads_back(self, label: str) -> None:
        node = draw_mermaid(flow_with_label(label)).splitlines()[1]
        inside = re.fullmatch(r'    t0\["a<br/>(.*)<br/>PENDING"\]:::PENDING', node)
        assert inside
        assert not set(inside[1]) & set('"<>`[]{}|\\')
        assert re.sub(r"#(\d+);", lambda match: chr(int(match[1])), inside[1]) == printable(label)


class TestDot:
    def test_nodes_edges_and_colours_are_drawn(self, diamond: Flow) -> None:
        assert draw_dot(diamond).splitlines() == [
            'digraph "diamond" {',
            '    node [shape=box, style="rounded,filled", fontname="sans-serif"];',
            '    t0 [label="join\\nPENDING", fillcolor="#eeeeee"];',
            '    t1 [label="begin\\nPENDING", fillcolor="#eeeeee"];',
            '    t2 [label="left\\nPENDING", fillcolor="#eeeeee"];',
            '    t3 [label="right\\nthe right one\\nPENDING", fillcolor="#eeeeee"];',
            "    t2 -> t0;",
            "    t3 -> t0;",
            "    t1 -> t2;",
            "    t1 -> t3;",
            "}",
        ]

    @given(label=st.text(st.characters(codec="utf-8", exclude_characters="\n")))
    def test_any_label_is_quoted_so_that_it_reads_back(self, label: str) -> None:
        node = draw_dot(flow_with_label(label)).splitlines()[2]
        quoted = re.fullmatch(r'    t0 \[label="((?:[^"\\]|\\.)*)", fillcolor="#eeeeee"\];', node)
        assert quoted
        text = re.sub(r"\\(.)", lambda match: "\x00" if match[1] == "n" else match[1], quoted[1])
        assert text.split("\x00") == ["a", printable(label), "PENDING"]


@pytest.mark.parametrize("draw", [draw_text, draw_mermaid, draw_dot])
def test_a_drawing_holds_no_control_characters(draw: object) -> None:
    assert callable(draw)
    drawing = draw(flow_with_label("\x1b[31mred\x07 &#8226; \u202e"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", drawing)
