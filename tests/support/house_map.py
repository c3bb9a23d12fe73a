"""The map of the house, drawn from the imports: `python -m tests.support.house_map` writes it anew."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ["PAGE", "draw_house", "with_house"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN = "<!-- drawn from the imports by `python -m tests.support.house_map` -->\n```mermaid\n"
END = "```\n<!-- end of what is drawn -->"
GROUND = "ground"  # the modules that import nothing but each other

Graph = Mapping[str, set[str]]


def draw_house(package: Path = ROOT / "mc") -> str:
    """Return the rooms and their wings as a Mermaid flowchart; an arrow leads to what is imported.

    What can be reached by way of another arrow has no arrow of its own.
    """
    imports = dict(_scan(package))
    rooms = _contract(imports, lambda name: name.split(".")[0])
    files = {path.stem for path in package.glob("*.py")}
    ground = sorted(room for room in rooms if {room, *_reached(rooms, room)} <= files)
    rooms = _contract(rooms, lambda room: GROUND if room in ground else room)
    lines = ["flowchart TB", f"    {GROUND}[{', '.join(ground)}]"]
    for room in sorted(rooms.keys() - {GROUND}):
        lines += _draw_room(room, imports, package)
    lines += [f"    {room} --> {target}" for room, target in _reduce(rooms)]
    return "\n".join(lines) + "\n"


def with_house(page: str) -> str:
    """Return the page with the map as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{draw_house()}{END}{after}"


def _scan(package: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield each module by its name below the package, and what it imports of the package."""
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).with_suffix("").parts
        if path.stem in ("__init__", "__main__"):
            continue
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package.name:
                below = node.module.split(".")[1:]
                names = [".".join([*below, alias.name]) for alias in node.names]
                found.update(name if _is_module(package, name) else ".".join(below) for name in names)
        yield ".".join(place), found - {""}


def _is_module(package: Path, name: str) -> bool:
    return package.joinpath(*name.split(".")).with_suffix(".py").is_file()


def _draw_room(room: str, imports: Graph, package: Path) -> Iterator[str]:
    folder = package / room
    inside = {name.partition(".")[2]: found for name, found in imports.items() if name.startswith(f"{room}.")}
    own = {
        name: {target.partition(".")[2] for target in found if target.startswith(f"{room}.")}
        for name, found in inside.items()
    }
    graph = _contract(own, lambda name: name.split(".")[0])
    wings = {name for name in graph if (folder / name).is_dir()}
    if not wings:
        yield f"    {room}"
        return
    yield f"    subgraph {room}"
    yield from (f"        {room}_{wing}[{wing}]" for wing in sorted(wings))
    reached = {wing: _reached(graph, wing) & wings - {wing} for wing in wings}
    yield from (f"        {room}_{wing} --> {room}_{target}" for wing, target in _reduce(reached))
    yield "    end"


def _contract(graph: Graph, part_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Return the graph of the parts that the nodes belong to."""
    parts: dict[str, set[str]] = {}
    for name, found in graph.items():
        part = part_of(name)
        parts.setdefault(part, set()).update({part_of(target) for target in found} - {part})
    return parts


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def _reduce(graph: Graph) -> Iterable[tuple[str, str]]:
    """Return the arrows without those that others make superfluous, in order."""
    return sorted(
        (name, target)
        for name, found in graph.items()
        for target in found
        if not any(target in _reached(graph, other) for other in found - {target})
    )


if __name__ == "__main__":
    PAGE.write_text(with_house(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
