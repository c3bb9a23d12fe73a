"""What a handler is given besides its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from mc.flows.flow import Flow, Task

__all__ = ["FlowView"]


class FlowView:
    """A flow as paths read it: values are copied by the reader, so nothing needs to be tracked."""

    __slots__ = ("_flow",)

    readable_attributes: ClassVar[frozenset[str]] = frozenset(
        {"key", "label", "cfg", "data", "status", "depth", "parent_key", "tasks"}
    )

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    @property
    def data(self) -> dict[str, Any]:
        """The flow's data."""
        return self._flow._data

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The flow's tasks by key."""
        return self._flow._tasks

    @property
    def key(self) -> str:
        """The flow's key."""
        return self._flow.key

    @property
    def label(self) -> str | None:
        """The flow's label."""
        return self._flow.label

    @property
    def cfg(self) -> dict[str, Any]:
        """How the flow runs."""
        return self._flow.cfg

    @property
    def status(self) -> str:
        """The flow's status."""
        return self._flow.status

    @property
    def depth(self) -> int:
        """How many flows this one is inside of."""
        return self._flow.depth

    @property
    def parent_key(self) -> str | None:
        """The key of the flow that this one belongs to."""
        return self._flow.parent_key
