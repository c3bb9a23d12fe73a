"""The canonical text of a spec and its digest."""

from __future__ import annotations

import json
from typing import Any

from mc.context.json_values import to_json_value

__all__ = ["canonical_json", "spec_digest"]


def canonical_json(value: Any) -> str:
    """Return the same compact JSON text for equal values: keys sorted, letters as they are.

    Raises:
        NotJsonError: JSON cannot hold the value.
    """
    return json.dumps(to_json_value(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def spec_digest(spec: Any) -> str:
    """Return the SHA-256 of a spec's canonical text as 64 hexadecimal digits.

    Raises:
        NotJsonError: JSON cannot hold the spec.
    """
    import hashlib

    return hashlib.sha256(canonical_json(spec).encode()).hexdigest()
