"""The context that a handler is given besides its task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from mc.flows.state.task_node import Task, TaskNode

if TYPE_CHECKING:
    from mc.flows.flow import Flow

__all__ = ["FlowView", "RawTasks"]


class RawTasks(Mapping[str, Task]):
    """The tasks of a flow for a reader that copies what it reads; ROOT is found, and not listed."""

    __slots__ = ("_nodes",)

    def __init__(self, nodes: Mapping[str, TaskNode]) -> None:
        self._nodes = nodes

    def __getitem__(self, key: str) -> Task:
        return self._nodes[key].task

    def __iter__(self) -> Iterator[str]:
        return islice(self._nodes, 1, None)  # without ROOT

    def __len__(self) -> int:
        return len(self._nodes) - 1


class FlowView:
    """A flow as paths read it: values are copied by the reader, so nothing needs to be tracked."""

    __slots__ = ("_state",)

    readable_attributes: ClassVar[frozenset[str]] = frozenset(
        {"key", "label", "cfg", "data", "status", "depth", "parent_key", "tasks"}
    )

    def __init__(self, flow: Flow) -> None:
        self._state = flow.state

    @property
    def data(self) -> dict[str, Any]:
        """The flow's data."""
        data: dict[str, Any] = self._state.data
        return data

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The flow's tasks by key."""
        return RawTasks(self._state.tasks.nodes)

    @property
    def key(self) -> str:
        """The flow's key."""
        return self._state.key

    @property
    def label(self) -> str | None:
        """The flow's label."""
        return self._state.label

    @property
    def cfg(self) -> dict[str, Any]:
        """How the flow runs."""
        return self._state.cfg

    @property
    def status(self) -> str:
        """The flow's status."""
        return self._state.status

    @property
    def depth(self) -> int:
        """How many flows this one is inside of."""
        return self._state.depth

    @property
    def parent_key(self) -> str | None:
        """The key of the flow that this one belongs to."""
        return self._state.parent_key
