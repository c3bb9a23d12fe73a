"""Dataclasses that can be written as JSON by the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from mc.durations import format_time

__all__ = ["JsonData"]


class JsonData:
    """The base of dataclasses whose fields hold JSON, times, enum members, or others of this kind.

    Attributes:
        renamed: fields that have another name in JSON; None: that are left out.
    """

    __slots__ = ()
    renamed: ClassVar[Mapping[str, str | None]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-safe data."""
        names = {each.name: self.renamed.get(each.name, each.name) for each in fields(self)}  # type: ignore[arg-type]
        return {shown: _to_json(getattr(self, name)) for name, shown in names.items() if shown}


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, tuple | list):
        return [_to_json(part) for part in value]
    if isinstance(value, Mapping):
        return dict(value)
    to_dict = getattr(value, "to_dict", None)
    return value if to_dict is None else to_dict()
