"""The state of a flow as the database holds it, with which a save compares what is in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from mc.errors import McError
from mc.flows.state.flow_state import FlowState
from mc.flows.state.lazy_nodes import TaskSource
from mc.store.lease import StoredRequest, Wake

__all__ = ["LateReads", "LateSource", "StoredState", "TaskColumns"]


class LateSource(TaskSource, Protocol):
    """Where a store reads the tasks that are not in memory."""

    def count_edges(self) -> int:
        """Return how many edges are stored."""


class LateReads(Protocol):
    """Reads of what belongs to a claimed flow, while it is ticked.

    Attributes:
        on_problem: told of an error before it is raised.
    """

    on_problem: Callable[[McError], object] | None


class TaskColumns(NamedTuple):
    """A row of `mc_task` as it stands in the database, its key and its flow's key left out."""

    position: int
    rank: int
    status: str
    unmet: int
    due_at: str | None
    body: str


@dataclass(slots=True)
class StoredState:
    """What the database holds of a flow that is in memory, so that a save writes only what differs."""

    revision: int = 0
    status: str = "PENDING"
    finished: bool = False
    label: str | None = None
    waiter_key: str | None = None  # the stored flow that waits for this one
    num_edges: int | None = 0  # None: they were not counted
    data: str = "{}"
    # The token of a lease, and the columns that few saves change, as the last save under it left them; None:
    # they are not known, or the flow was not due at once.
    seldom_changed: tuple[Any, ...] | None = None
    tasks: dict[str, TaskColumns] = field(default_factory=dict)
    own_spec: Any = None  # where it differs, in the order of its keys, from the text kept by digest
    wakes: tuple[Wake, ...] = ()  # that the flow had when it was loaded
    requests: dict[str, StoredRequest] = field(default_factory=dict)  # on resources, by id
    source: LateSource | None = None  # where those of its tasks are that were not read yet
    reads: LateReads | None = None  # of what belongs to a claimed flow and was not read yet
    inner: WeakKeyDictionary[FlowState, StoredState] = field(default_factory=WeakKeyDictionary)
