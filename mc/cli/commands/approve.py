"""`houston approve`: say yes to what a task asks."""

from __future__ import annotations

from mc.cli.decisions import make_decision_command

__all__ = ["command"]

command = make_decision_command("approve", approves=True)
