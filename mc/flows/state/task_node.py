"""A task as a node of its flow's graph, with what a tick asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mc.errors import GraphError, ResourceError
from mc.flows.resource import read_needs
from mc.flows.state.start_rules import StartRule, failure_behind, start_rule_for
from mc.spec.task_graph import start_rule_task_keys

__all__ = ["BEGUN_WITH_PARAMS", "ROOT_RANK", "Task", "TaskNode", "flows_named_in", "read_cfg", "with_proxied"]

Task = dict[str, Any]

# entries of a task dict that its type made of its parameters, and with which a retry would go on
BEGUN_WITH_PARAMS: Final = (
    "flow_dict",
    "initialised",
    "kept",
    "proxied_task",
    "retries_sub_flow",
    "sub_flow",
    "waits_for",
)

# Below all others, so that there is always room between ROOT and the first tasks.
ROOT_RANK: Final = -(1 << 60)


class TaskNode:
    """A task with what a tick needs to know of it, so that a tick looks up no key.

    Attributes:
        key: the task's key.
        task: the task dict.
        status: the status that counts; the dict may say another one until that was taken up.
        position: place in the order of the spec; ROOT has 0.
        unmet: unfinished precursors; 0: the task may start.
        touched: whether it may have changed since the last save.
        rank: grows along every edge.
        rule: its start rule, where it is not the default.
        precursors: nodes that it waits for.
        successors: nodes that wait for it.
    """

    __slots__ = (
        "key",
        "position",
        "precursors",
        "rank",
        "rule",
        "status",
        "successors",
        "task",
        "touched",
        "unmet",
    )

    def __init__(self, key: str, task: Task, status: str, position: int) -> None:
        self.key = key
        self.task = task
        self.status = status
        self.position = position
        self.unmet = -1  # not counted yet
        self.touched = False
        self.rank = 0
        self.rule: StartRule | None = None
        self.precursors: list[TaskNode] = []
        self.successors: list[TaskNode] = []

    @property
    def may_fail(self) -> bool:
        """Whether the spec allows this task to fail."""
        cfg = self.task.get("cfg")
        return bool(cfg and cfg.get("allow_failure"))

    @property
    def priority(self) -> int:
        """Higher ones start first where only some may start."""
        cfg = self.task.get("cfg")
        return cfg.get("priority", 0) if cfg else 0

    @property
    def shown_precursors(self) -> list[TaskNode]:
        """What it waits for; ROOT only where it waits for nothing else."""
        before = self.precursors
        if len(before) > 1 and any(source.rank == ROOT_RANK for source in before):
            return [source for source in before if source.rank != ROOT_RANK]
        return before

    def find_cause(self, source: TaskNode | None = None) -> dict[str, str] | None:
        """Return the failure because of which this task can no longer start; None where there is none.

        Args:
            source: the precursor whose end decided; None: not known.
        """
        rule = self.rule
        causes = []
        for each in self.precursors if source is None or rule is not None else [source]:
            cause = failure_behind(each.key, each.status, each.task)
            if cause is not None and (rule is None or rule.misses(each.key, each.status)):
                causes.append(cause)
        return min(causes, key=lambda cause: cause["status"] != "FAILED", default=None)

    def __repr__(self) -> str:
        return f"TaskNode({self.key!r}, {self.status}, unmet={self.unmet})"


def with_proxied(task: Task) -> Iterator[Task]:
    """Yield a task dict, that of the task that it proxies, and so on."""
    holder: Any = task
    while isinstance(holder, dict):
        yield holder
        holder = holder.get("proxied_task")


def flows_named_in(task: Task) -> Iterator[str]:
    """Yield the keys of flows that a task dict names: that live inside, were run there, or are kept."""
    if isinstance(task.get("sub_flow"), str):
        yield task["sub_flow"]
    for part in (task.get("proxied_task"), task.get("kept")):
        if isinstance(part, dict):
            yield from flows_named_in(part)


def read_cfg(key: str, cfg: Any) -> StartRule | None:
    """Check of a task's cfg what a flow's state needs, and return its start rule; None for the default.

    Raises:
        GraphError: the cfg is malformed.
    """
    if not isinstance(cfg, dict):
        raise GraphError(f"Task {key!r}: cfg must be a mapping; found {type(cfg).__name__}.", key=key)
    priority = cfg.get("priority", 0)
    if not isinstance(priority, int) and not (isinstance(priority, float) and priority.is_integer()):
        raise GraphError(f"Task {key!r}: cfg.priority must be a whole number.", key=key)
    if cfg.get("resources"):
        try:
            read_needs(cfg)
        except ResourceError as error:
            raise GraphError(f"Task {key!r}: {error.message}", key=key) from error
    if "start_when" not in cfg:
        return None
    try:
        if not all(isinstance(key, str) for key in start_rule_task_keys({"cfg": cfg})):
            raise TypeError("a task is named by its key")
        return start_rule_for(cfg)
    except (ValueError, KeyError, TypeError) as error:
        raise GraphError(f"Task {key!r}: cfg.start_when: {str(error).rstrip('.')}.", key=key) from error
