"""Findings of an examination of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mc.json_data import JsonData

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """What a finding asks for."""

    OK = "ok"  # nothing
    NOTE = "note"  # attention, some day
    PROBLEM = "problem"  # a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(JsonData):
    """One thing that was looked at.

    Attributes:
        code: stable name of what was looked at.
        severity: what it asks for.
        message: what was found and what it means, in a sentence or two.
        advice: what to do; empty where there is nothing to do.
        details: figures and keys, JSON-safe.
    """

    code: str
    severity: Severity
    message: str
    advice: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
