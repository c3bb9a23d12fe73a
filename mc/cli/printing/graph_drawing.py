"""Drawings of a flow's graph as text, for Mermaid and for Graphviz."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mc.cli.printing.output import STATUS_FILLS, printable
from mc.spec.planning.flow_shape import find_ranks

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["GRAPH_FORMATS", "draw_dot", "draw_mermaid", "draw_text"]

# What stands for itself in a quoted Mermaid label; anything else is written as an entity.
_MERMAID_SPECIAL: Final = re.compile(r"[^\w .,:()/=+*-]")


def draw_text(flow: Flow) -> str:
    """Return one line per task in an order in which they can run: `key [STATUS] -> what waits for it`."""
    lines = []
    for key in find_ranks(list(flow.tasks), list(_edges(flow))):
        after = ", ".join(printable(dest) for dest in _successors(flow, key))
        lines.append(f"{printable(key)} [{flow.tasks[key]['status']}]" + (f" -> {after}" if after else ""))
    return "\n".join(lines)


def draw_mermaid(flow: Flow) -> str:
    """Return a Mermaid flowchart."""
    names = _node_names(flow)
    lines = ["flowchart TD"]
    for key, name in names.items():
        task = flow.tasks[key]
        label = "<br/>".join(_mermaid_text(part) for part in _label_lines(task))
        lines.append(f'    {name}["{label}"]:::{task["status"]}')
    lines += [f"    {names[source]} --> {names[dest]}" for source, dest in _edges(flow)]
    used = {flow.tasks[key]["status"] for key in names}
    lines += [
        f"    classDef {status} fill:{fill},stroke:#555555,color:#000000"
        for status, fill in STATUS_FILLS.items()
        if status in used
    ]
    return "\n".join(lines)


def draw_dot(flow: Flow) -> str:
    """Return a directed graph in the language of Graphviz."""
    names = _node_names(flow)
    lines = [
        f"digraph {_dot_text(flow.key)} {{",
        '    node [shape=box, style="rounded,filled", fontname="sans-serif"];',
    ]
    for key, name in names.items():
        task = flow.tasks[key]
        label = _dot_text("\n".join(_label_lines(task)))
        lines.append(f'    {name} [label={label}, fillcolor="{STATUS_FILLS[task["status"]]}"];')
    lines += [f"    {names[source]} -> {names[dest]};" for source, dest in _edges(flow)]
    lines.append("}")
    return "\n".join(lines)


GRAPH_FORMATS: Final[Mapping[str, Callable[[Flow], str]]] = MappingProxyType(
    {"text": draw_text, "mermaid": draw_mermaid, "dot": draw_dot}
)


def _node_names(flow: Flow) -> dict[str, str]:
    """Return a name per task that needs no quotes in either language."""
    return {key: f"t{number}" for number, key in enumerate(flow.tasks)}


def _edges(flow: Flow) -> Iterator[tuple[str, str]]:
    for edge in flow.get_edges():
        if edge["src_key"] != flow.ROOT_TASK_KEY:
            yield edge["src_key"], edge["dest_key"]


def _successors(flow: Flow, key: str) -> list[str]:
    return [task["key"] for task in flow.get_successors(key)]


def _label_lines(task: Mapping[str, object]) -> list[str]:
    label = task.get("label")
    shown = [str(task["key"])] if label is None else [str(task["key"]), str(label)]
    return [*shown, str(task["status"])]


def _mermaid_text(text: str) -> str:
    return _MERMAID_SPECIAL.sub(lambda match: f"#{ord(match.group())};", printable(text))


def _dot_text(text: str) -> str:
    lines = [printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n")]
    return '"' + "\\n".join(lines) + '"'
