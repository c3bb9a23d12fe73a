"""JSON text of many rows, as bulk statements take it; see `Dialect.bulk_insert`."""

from __future__ import annotations

from json import JSONEncoder
from typing import Final

__all__ = ["rows_text"]

rows_text: Final = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
