"""Texts that look like references and are not written as such, so that they would pass as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from mc.spec.findings import Findings
from mc.spec.problems import join_pointer, shorten

__all__ = ["check_spelling"]

# What stands in the context of a task, named without the `ctx` before it.
_PLACE: Final = (
    r"(?:flow\.(?:cfg|data|key|label|results|status|tasks)|task\.(?:data|key|params|status|task_params)"
    r"|tasks\.\w+\.(?:data|status|task_params)|parent\.(?:flow|task)|item\.(?:idx|key|value)|loop\.(?:idx|last))\b"
)
_STEPS: Final = r"""[\w.\[\]"'-]*"""
_WITH_DOLLAR: Final = re.compile(
    rf"""\$(?P<open>\ ?[({{]\s*)?
    (?P<path>(?i:ctx)[.\[]{_STEPS}|(?i:ctx)(?=\s*[)}}]|$)|(?:context\.)?{_PLACE}{_STEPS}|(?P<data>data\.{_STEPS}))
    (?(open)(?:\s*[)}}])?)""",
    re.VERBOSE,
)
_IN_BRACES: Final = re.compile(
    r"\{\{\s*(?P<double>[A-Za-z_]\w*(?:\.\w+)*)\s*\}\}"
    rf"|(?<!\$)(?<!\$ )\{{\s*(?P<single>ctx\.{_PLACE}{_STEPS})"
)
_WITHOUT_DOLLAR: Final = re.compile(rf"ctx\.{_PLACE}{_STEPS}")
_BELOW_FLOW: Final = ("data.", "tasks.")


def check_spelling(value: Any, pointer: str, findings: Findings) -> None:
    """Note the texts inside a value that look like misspelt references.

    What has a dollar is a problem, as a backslash before it says that none is meant. What has only braces, or
    nothing, may be meant for somebody else, and is a warning.

    Args:
        value: plain JSON, a part of a spec.
        pointer: where it stands.
        findings: where problems and warnings go.
    """
    waiting: list[tuple[Any, str]] = [(value, pointer)]
    while waiting:
        part, place = waiting.pop()
        kind = type(part)
        if kind is str:
            if "$" in part or "{" in part or part.startswith("ctx."):
                _check_text(part, place, findings)
        elif kind is dict or kind is list:
            for step, inner in part.items() if kind is dict else enumerate(part):
                inner_kind = type(inner)
                if inner_kind is dict or inner_kind is list:
                    waiting.append((inner, join_pointer(place, step)))
                elif inner_kind is str and ("$" in inner or "{" in inner or inner.startswith("ctx.")):
                    _check_text(inner, join_pointer(place, step), findings)


def _check_text(text: str, pointer: str, findings: Findings) -> None:
    if text.startswith("$ctx."):
        return  # a reference, right or wrong
    has_others = text.count("$") > text.count("${ctx.")
    for found, path in _find_with_dollar(text) if has_others else ():
        is_whole = found.rstrip(")} ") == text.rstrip(")} ")
        findings.add(
            "MC153",
            pointer,
            f"{shorten(found)} looks like a reference and would be taken as plain text.",
            found=text,
            expected=r"a whole value $ctx.path, ${ctx.path} inside a text, or \$ for a plain dollar",
            suggestion=f"${path}" if is_whole else f"${{{path}}}",
        )
    for match in _IN_BRACES.finditer(text) if text.count("{") > text.count("${") else ():
        found = match.group()
        path = _complete(match.group("double") or match.group("single"))
        message = (
            f"{shorten(found)} is taken as plain text; a reference inside a text is written ${{ctx.path}}."
        )
        findings.warn("MC153", pointer, message, found=text, suggestion=f"${{{path}}}")
    if _WITHOUT_DOLLAR.fullmatch(text):
        message = f"{shorten(text)} is taken as plain text; a reference begins with a dollar."
        findings.warn("MC153", pointer, message, found=text, suggestion=f"${text}")


def _find_with_dollar(text: str) -> Iterator[tuple[str, str]]:
    """Yield what looks like a reference, and the path that is probably meant."""
    position = 0
    while (match := _WITH_DOLLAR.search(text, position)) is not None:
        start, position = match.span()
        if text.startswith("${ctx.", start):
            end = text.find("}", match.end("path"))  # a reference, right or wrong
            position = match.end("path") if end < 0 else end
        elif not _is_escaped(text, start) and (match["open"] or not match["data"]):
            yield match.group(), _complete(match["path"].rstrip("."))


def _is_escaped(text: str, at: int) -> bool:
    """Tell whether an odd number of backslashes stands before a place."""
    start = at
    while start and text[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 1


def _complete(path: str) -> str:
    path = path.removeprefix("context.")
    if path[:3].lower() == "ctx":
        return f"ctx{path[3:]}" if len(path) > 3 else "ctx.flow.data.x"
    if "." not in path:
        return f"ctx.flow.data.{path}"
    return f"ctx.flow.{path}" if path.startswith(_BELOW_FLOW) else f"ctx.{path}"
