"""Flows read in parts, however small they are, and never the rest at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from mc.flows.state import lazy_nodes as stored_graph

__all__ = ["never_read_whole"]


@contextmanager
def never_read_whole() -> Iterator[None]:
    """Let each question to the store cost nothing, so that a flow is not read whole to spare some.

    To be used with `FlowStore(..., partial_from=1)`.
    """
    with patch.object(stored_graph, "_QUESTION", -1_000_000):
        yield
