"""The canonical text of a spec and its digest."""

from __future__ import annotations

import json
from typing import Any

from mc.context.json_values import to_json_value
from mc.errors import NotJsonError

__all__ = ["canonical_json", "spec_digest"]


def canonical_json(value: Any) -> str:
    """Return the same compact JSON text for equal values: keys sorted, letters as they are.

    Raises:
        NotJsonError: JSON cannot hold the value.
    """
    plain = to_json_value(value)
    try:
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (RecursionError, ValueError) as error:
        raise NotJsonError(f"The value cannot be written as JSON: {error}.", pointer="") from error


def spec_digest(spec: Any) -> str:
    """Return the SHA-256 of a spec's canonical text as 64 hexadecimal digits.

    Raises:
        NotJsonError: JSON cannot hold the spec.
    """
    import hashlib

    text = canonical_json(spec)
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise NotJsonError(
            "A text holds half of a surrogate pair, which UTF-8 cannot hold.", pointer=""
        ) from error
    return hashlib.sha256(encoded).hexdigest()
