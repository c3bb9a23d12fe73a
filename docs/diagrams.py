"""A hook of MkDocs that draws diagrams as SVG, so that no reader fetches a program that does.

A page writes a diagram in Mermaid, which other readers of Markdown draw too: who says what to whom
(`sequenceDiagram`), or which changes of a status there are (`stateDiagram-v2`). Both are drawn as a column
for each party or status and a row for each arrow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["draw", "on_config", "on_post_build"]

COLUMN, ROW, TOP, MARGIN = 128, 36, 44, 64  # pixels
LETTER = 6.6  # pixels of a letter at 12 px
ARROW = re.compile(r"(?P<src>\S+?)\s*(?P<line>-->>|->>|-->)\s*(?P<dest>[^\s:]+)(?:\s*:\s*(?P<text>.+))?")
NOTE = re.compile(r"Note over (?P<src>\S+?)\s*:\s*(?P<text>.+)")
PARTY = re.compile(r"participant (?P<name>\S+) as (?P<text>.+)")
END = "[*]"


@dataclass
class Diagram:
    """What a Mermaid text says."""

    columns: dict[str, str] = field(default_factory=dict)  # name -> what is written on it
    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)  # from, to, text, dashed
    last: set[str] = field(default_factory=set)  # statuses in which something may stay for ever


def read(source: str) -> Diagram:
    """Return what a Mermaid text says; what is not understood is an error of the build."""
    diagram = Diagram()
    head, *lines = [line.strip() for line in source.strip().splitlines()]
    if head not in ("sequenceDiagram", "stateDiagram-v2"):
        raise ValueError(f"docs/diagrams.py cannot draw a {head}")
    for line in lines:
        if match := PARTY.fullmatch(line):
            diagram.columns[match["name"]] = match["text"]
        elif match := NOTE.fullmatch(line):
            diagram.rows.append((match["src"], match["src"], match["text"], False))
        elif match := ARROW.fullmatch(line):
            source_name, dest = match["src"], match["dest"]
            for name in (source_name, dest):
                if name != END:
                    diagram.columns.setdefault(name, name)
            if dest == END:
                diagram.last.add(source_name)
            elif source_name != END:
                dashed = head == "sequenceDiagram" and match["line"] == "-->>"
                diagram.rows.append((source_name, dest, match["text"] or "", dashed))
        else:
            raise ValueError(f"docs/diagrams.py cannot draw {line!r}")
    return diagram


def draw(source: str, *_: Any, **__: Any) -> str:
    """Return the SVG of a Mermaid text, in the colours of the page."""
    diagram = read(source)
    places = {name: MARGIN + at * COLUMN for at, name in enumerate(diagram.columns)}
    width = 2 * MARGIN + (len(places) - 1) * COLUMN
    height = TOP + ROW * len(diagram.rows) + 20
    start = (
        f'<svg class="diagram" role="img" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'style="width:100%;max-width:{width}px" font-size="12" font-family="sans-serif" fill="currentColor">'
    )
    parts = [start]
    for name, text in diagram.columns.items():
        parts += _column(places[name], text, height, name in diagram.last)
    for at, row in enumerate(diagram.rows):
        parts += _row(row, places, TOP + ROW * (at + 1), width)
    return "".join([*parts, "</svg>"])


def _column(x: float, text: str, height: float, is_last: bool) -> list[str]:
    border = 2.5 if is_last else 1
    box = (
        f'<rect x="{x - 52}" y="6" width="104" height="24" rx="4" fill="var(--md-code-bg-color, #eee)" '
        f'stroke="currentColor" stroke-width="{border}"/>'
    )
    return [
        f'<line x1="{x}" y1="30" x2="{x}" y2="{height - 8}" stroke="currentColor" stroke-opacity=".25"/>',
        box,
        f'<text x="{x}" y="22" text-anchor="middle">{escape(text)}</text>',
    ]


def _row(row: tuple[str, str, str, bool], places: dict[str, int], y: float, width: float) -> list[str]:
    source, dest, text, dashed = row
    begin, end = places[source], places[dest]
    half = len(text) * LETTER / 2
    middle = min(max((begin + end) / 2, half + 4), width - half - 4)
    label = (
        f'<text x="{middle:g}" y="{y - 7:g}" text-anchor="middle" stroke="var(--md-default-bg-color, #fff)" '
        f'stroke-width="4" paint-order="stroke">{escape(text)}</text>'
    )
    if begin == end:
        return [label]
    back = -7 if end > begin else 7
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return [
        label,
        f'<line x1="{begin}" y1="{y}" x2="{end}" y2="{y}" stroke="currentColor"{dash}/>',
        f'<circle cx="{begin}" cy="{y}" r="2.5"/>',
        f'<path d="M{end},{y} l{back},-4 v8 z"/>',
    ]


def on_config(config: Any) -> Any:
    """Let fences of the language mermaid be drawn."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "mermaid", "class": "diagram", "format": draw}]
    return config


def on_post_build(config: Any) -> None:
    """Take from the theme's script the addresses of programs that it would fetch from elsewhere."""
    for path in Path(config.site_dir, "assets", "javascripts").glob("bundle.*.js"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"https://unpkg\.com/[^\"']*", "about:blank", text), encoding="utf-8")
