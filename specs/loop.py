"""What `loop.json` calls."""

from __future__ import annotations

__all__ = ["improve"]


def improve(square: float, last: dict[str, float] | None) -> dict[str, float]:
    """Return a better square root than that of the last round, and how far its square is off."""
    root = last["root"] if last else float(square)
    root = (root + square / root) / 2
    return {"root": root, "error": abs(root * root - square)}
