"""What `stdlib_census.json` calls: count the lines, functions and classes of Python source.

Counted is the library of the Python that runs this, or any other folder of modules. What cannot be
decoded or parsed is counted as such, so that the files of the report always add up.
"""

from __future__ import annotations

import ast
import io
import os
import platform
import sys
import sysconfig
import tokenize
import warnings
from pathlib import Path
from typing import Any

__all__ = ["count_module", "list_modules", "rank_modules", "write_report"]

# Tests are installed on some machines and not on others.
SKIPPED_FOLDERS = frozenset({"__pycache__", "idle_test", "site-packages", "test", "tests"})
COUNTED = ("files", "lines", "functions", "classes", "undecodable", "unparsable")
BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
TOP = 10


def list_modules(folder: str | None = None) -> dict[str, Any]:
    """Return the folder, the names of its top-level modules that have Python source, and the other names.

    Args:
        folder: a folder of modules; the standard library unless given, of which some modules are
            compiled and have no source.
    """
    root = Path(folder or sysconfig.get_path("stdlib"))
    with_source = {
        entry.stem if entry.is_file() else entry.name
        for entry in root.iterdir()
        if entry.name.isidentifier() or entry.suffix == ".py"
    }
    names = set(sys.stdlib_module_names) if folder is None else with_source
    modules = sorted(name for name in names & with_source if source_files(root, name))
    return {"root": str(root), "modules": modules, "without_source": sorted(names - set(modules))}


def source_files(root: Path, name: str) -> list[Path]:
    """Return the Python files of a top-level module or package, in a fixed order."""
    single = root / f"{name}.py"
    files = [single] if single.is_file() else []
    if name not in SKIPPED_FOLDERS:
        for folder, folders, names in os.walk(root / name):
            folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
            files += [Path(folder, file) for file in sorted(names) if file.endswith(".py")]
    return files


def count_module(root: str, name: str) -> dict[str, Any]:
    """Count what one top-level module or package holds."""
    total: dict[str, Any] = {"name": name, **dict.fromkeys(COUNTED, 0)}
    for file in source_files(Path(root), name):
        for what, number in count_source(file.read_bytes()).items():
            total[what] += number
    return total


def count_source(source: bytes) -> dict[str, int]:
    """Count one file; its lines end where a line feed stands, as for `wc`, or where the file ends."""
    lines = source.count(b"\n") + (not source.endswith(b"\n") and source != b"")
    count = {"files": 1, "lines": lines}
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        return {**count, "undecodable": 1}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is counted
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {**count, "unparsable": 1}
    return {**count, **count_definitions(tree)}


def count_definitions(tree: ast.Module) -> dict[str, int]:
    """Count `def` and `class` statements, nested ones included."""
    functions = classes = 0
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        classes += isinstance(node, ast.ClassDef)
        # Only statements hold statements, so expressions need not be looked at.
        for name in BODIES:
            stack += getattr(node, name, ())
    return {"functions": functions, "classes": classes}


def rank_modules(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the totals, the modules by lines, and the longest of them as a table.

    Args:
        counts: what the tasks that counted left in their data: `result` holds the count of one module.
    """
    modules = [count["result"] for count in counts]
    ranking = sorted(modules, key=lambda module: (-module["lines"], module["name"]))
    totals = {what: sum(module[what] for module in modules) for what in COUNTED}
    return {
        "totals": {"modules": len(modules), **totals},
        "ranking": ranking,
        "table": format_table(ranking[:TOP]),
    }


def format_table(ranking: list[dict[str, Any]]) -> str:
    """Return the modules as lines of text."""
    head = f"{'module':<20} {'files':>6} {'lines':>9} {'functions':>10} {'classes':>8}"
    rows = [
        f"{module['name']:<20} {module['files']:>6,} {module['lines']:>9,} "
        f"{module['functions']:>10,} {module['classes']:>8,}"
        for module in ranking
    ]
    return "\n".join([head, *rows])


def write_report(path: str, listed: dict[str, Any], ranked: dict[str, Any]) -> str:
    """Write the report as Markdown, whole or not at all, and return its path."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.part")
    draft.write_text(format_report(listed, ranked), encoding="utf-8")
    draft.replace(target)
    return str(target)


def format_report(listed: dict[str, Any], ranked: dict[str, Any]) -> str:
    """Return the totals and the ranking as Markdown."""
    totals = ranked["totals"]
    rows = "".join(
        f"| {module['name']} | {module['files']} | {module['lines']} | {module['functions']} "
        f"| {module['classes']} |\n"
        for module in ranked["ranking"]
    )
    return (
        "# A census of Python source\n\n"
        f"Counted by Python {platform.python_version()}: {totals['modules']:,} modules with "
        f"{totals['files']:,} files and {totals['lines']:,} lines; {totals['functions']:,} functions, "
        f"{totals['classes']:,} classes.\n\n"
        f"{totals['undecodable']:,} files could not be decoded and {totals['unparsable']:,} could not be "
        f"parsed; their lines are counted, their functions and classes are not. "
        f"{len(listed['without_source']):,} modules have no Python source and are not counted.\n\n"
        "| module | files | lines | functions | classes |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        f"{rows}"
    )
