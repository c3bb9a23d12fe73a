"""What `retry.json` calls."""

from __future__ import annotations

from typing import Any

__all__ = ["fetch"]


def fetch(task_ctx: Any) -> dict[str, Any]:
    """Answer at the third attempt, as an overloaded server might."""
    attempt = task_ctx["task"]["attempt"]
    if attempt < 3:
        raise ConnectionResetError(f"the server hung up at attempt {attempt}")
    return {"value": 42, "idempotency_key": task_ctx["idempotency_key"]}
