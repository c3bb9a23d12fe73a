"""How findings are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mc.cli.output import printable

if TYPE_CHECKING:
    from mc.store.finding import Finding

__all__ = ["describe_finding"]


def describe_finding(finding: Finding) -> str:
    """Return a line that tells people what was found, and one that tells what to do, if anything."""
    text = f"{finding.severity:<8} {finding.code}: {printable(finding.message)}"
    return f"{text}\n{'':<8} -> {printable(finding.advice)}" if finding.advice else text
