"""Checks of the named resources that a task asks for."""

from __future__ import annotations

from typing import Any, Final

from mc.spec.findings import Findings
from mc.spec.names import MAX_RESOURCE_NAME, RESOURCE_NAME
from mc.spec.problems import join_pointer, shorten

__all__ = ["check_resources"]

_EXPECTED_NAME: Final = (
    f'at most {MAX_RESOURCE_NAME} letters (A to Z), digits, and _ . : - between them, such as "db"'
)


def check_resources(value: Any, pointer: str, holder: str | None, findings: Findings) -> None:
    """Check `cfg.resources`, whose types the schema has checked.

    Args:
        value: what stands there.
        pointer: where.
        holder: where the `resources` of a task around it stand, if there are any.
        findings: where problems go.
    """
    if holder is not None:
        message = (
            f"A task around this one holds resources ({holder}): two such tasks could wait for each "
            f"other for ever. Write `resources` either there, with all that is needed, or here."
        )
        findings.add("MC122", pointer, message, found=value, expected="no `resources` here")
    if type(value) is list:
        seen: set[str] = set()
        for at, name in enumerate(value):
            if type(name) is str and name in seen:
                message = f"{shorten(name)} stands there twice; for two slots, write a mapping: {{NAME: 2}}."
                findings.add("MC006", f"{pointer}/{at}", message, found=name, expected="each name once")
            elif type(name) is str:
                seen.add(name)
                _check_name(name, f"{pointer}/{at}", findings)
    elif type(value) is dict:
        for name in value:
            _check_name(name, join_pointer(pointer, name), findings)


def _check_name(name: str, pointer: str, findings: Findings) -> None:
    if len(name) > MAX_RESOURCE_NAME or not RESOURCE_NAME.fullmatch(name):
        message = f"{shorten(name)} cannot be the name of a resource; expected {_EXPECTED_NAME}."
        findings.add("MC006", pointer, message, found=name, expected=_EXPECTED_NAME)
