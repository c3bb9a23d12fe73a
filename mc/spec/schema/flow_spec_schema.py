"""The JSON Schema of the flow spec."""

from __future__ import annotations

from typing import Any

__all__ = ["load_flow_spec_schema"]


def load_flow_spec_schema() -> dict[str, Any]:
    """Return a fresh copy of the JSON Schema (draft 2020-12) of a flow spec."""
    import json
    from importlib import resources

    text = resources.files("mc.spec").joinpath("flow_spec.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
