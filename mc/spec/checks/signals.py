"""Checks of the task types that wait for a signal."""

from __future__ import annotations

from typing import Any

from mc.context.interpolation import has_references
from mc.spec.checks.times import check_timeout
from mc.spec.findings import Findings
from mc.spec.names import MAX_NAME_LENGTH, RESERVED_PREFIX, is_name
from mc.spec.problems import shorten
from mc.spec.schema.params_schema import check_params_schema

__all__ = ["check_signal_params"]


def check_signal_params(name: str, params: dict[str, Any], pointer: str, findings: Findings) -> None:
    """Check the parameters of a `wait_for_signal` or an `approval`."""
    if name == "approval":
        _check_approval(params, pointer, findings)
        return
    check_params_schema(params.get("schema"), f"{pointer}/schema", findings)
    _check_name(params.get("signal"), f"{pointer}/signal", findings, is_signal=True)


def _check_approval(params: dict[str, Any], pointer: str, findings: Findings) -> None:
    if not has_references(params.get("timeout")):
        check_timeout(params.get("timeout"), f"{pointer}/timeout", "whoever decides", findings)
    approvers = params.get("approvers")
    for at, who in enumerate(approvers if type(approvers) is list else ()):
        _check_name(who, f"{pointer}/approvers/{at}", findings)


def _check_name(name: Any, pointer: str, findings: Findings, is_signal: bool = False) -> None:
    """Check a name that must be equal to one that somebody gives, and is no reference."""
    if type(name) is not str or not name or has_references(name):
        return
    if is_signal and name.startswith(RESERVED_PREFIX):
        message = f"No signal can have the name {shorten(name)}: {RESERVED_PREFIX!r} begins the engine's own."
        findings.add("MC006", pointer, message, found=name, expected=f"a name without {RESERVED_PREFIX!r}")
    elif not is_name(name):
        expected = f"at most {MAX_NAME_LENGTH} characters that can be printed, not all of them spaces"
        message = f"{shorten(name)} is not a name that anybody can give."
        findings.add("MC006", pointer, message, found=name, expected=expected)
