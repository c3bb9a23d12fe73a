"""Excess of failures: the error of a flow that fails by the limits of a spread in its `cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc.errors import FailureLimitError
from mc.flows.state.task_states import can_complete

__all__ = ["find_excess"]


def find_excess(cfg: Mapping[str, Any], failures: int, counts: Mapping[str, int]) -> FailureLimitError | None:
    """Return the error of a flow that failed by one of its limits; None where it has none."""
    least, most = cfg.get("min_completed"), cfg.get("tolerated_failures")
    total = sum(counts.values())
    if most is not None and failures > most:
        return FailureLimitError(f"{failures} of {total} items failed, and tolerated_failures is {most}.")
    if least is None:
        return None
    failed, skipped = counts.get("FAILED", 0), counts.get("SKIPPED", 0)
    return FailureLimitError(
        f"Of {total} items at most {can_complete(counts)} can be COMPLETED, and min_completed is {least}: "
        f"{failed} failed and {skipped} were skipped."
    )
