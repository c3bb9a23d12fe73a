"""Services: what handlers may ask of their surroundings, and what the parts of a tick ask of the engine.

Whoever ticks a flow offers handlers what is in `Services`, under one key of their `task_ctx`. A new
service is a Protocol here and a member of `Services`; a runner puts its own in that place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from mc.flows.state.task_node import Task

if TYPE_CHECKING:
    import logging
    from datetime import datetime

    from mc.clock import Clock
    from mc.context.sizes import Limits
    from mc.errors import McError
    from mc.flows.flow import Flow
    from mc.flows.handlers.handler_registry import Handler, HandlerRegistry
    from mc.flows.jobs.job import Job, JobState, Outcome
    from mc.flows.jobs.job_settings import ModuleSettings
    from mc.flows.observer import Observer
    from mc.flows.state.flow_state import FlowState
    from mc.flows.state.task_node import TaskNode
    from mc.flows.tick_report import TickReport

__all__ = [
    "SERVICES",
    "Answer",
    "CallWatch",
    "EngineServices",
    "JobService",
    "MissingHandlerService",
    "Nesting",
    "OpenCall",
    "OpenTick",
    "OwnResources",
    "ResourceRequest",
    "ResourceService",
    "SaveEffects",
    "Services",
    "SubFlowService",
    "SubFlowState",
    "TransactionService",
    "graph_task_key",
]

SERVICES: Final = "mc.services"  # where `task_ctx` has them
# Saves after a call with effects; False: nothing more may be called.
SaveEffects = Callable[[], bool]


class OpenCall(Protocol):
    """What services ask of a call; `TaskCall` is one.

    Attributes:
        has_effects: whether its outcome is saved before anything else is called.
    """

    has_effects: bool
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class SubFlowState:
    """What a `flow` task needs to know of its sub-flow."""

    status: str
    data: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] | None = None
    failure: str | None = None  # one sentence, where the sub-flow failed
    failure_names: Iterable[str] = ()  # of the classes of what failed in it
    read_tasks: Callable[[], Iterable[Task]] = tuple  # its task dicts, in order


class SubFlowService(Protocol):
    """Keeps the sub-flows that have a record of their own."""

    def start(self, flow: Flow, parent: Flow) -> None:
        """Take over a new sub-flow; does nothing if one with that key was started already.

        A stored service writes it in the same transaction as the parent's next save.
        """

    def find(self, key: str) -> Flow | None:
        """Return a sub-flow that is ticked as part of its task's call; None if others tick it."""

    def poll(self, key: str) -> SubFlowState:
        """Return how far a sub-flow is.

        Raises:
            FlowNotFoundError: there is none with that key.
        """

    def cancel(self, key: str, reason: str) -> bool:
        """Cancel a sub-flow that is unfinished; does nothing otherwise.

        Returns:
            Whether there is a sub-flow that a person may retry; not where none was stored yet.
        """

    def leave(self, key: str) -> dict[str, Any] | None:
        """Return the flow dict of a sub-flow that failed or was cancelled; None if the service keeps it."""

    def retry(self, key: str, flow_dict: dict[str, Any] | None, by: str, reason: str) -> bool:
        """Retry a sub-flow that failed or was cancelled.

        Args:
            key: of the sub-flow.
            flow_dict: what `leave` returned, retried already.
            by: who asks.
            reason: why.

        Returns:
            True if that is still to be done by others, who wake the task when the sub-flow has ended.

        Raises:
            FlowNotFoundError: there is none with that key.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    """What one attempt of a task needs before it may run."""

    id: str  # of the attempt, the same whenever it asks
    task_key: str  # of the outermost flow's task
    attempt: int
    needs: Mapping[str, int]  # resource -> slots
    priority: int  # of the task
    since: str  # when it asked first, ISO 8601
    begun: bool = False  # it ran already: it needs its slots again, and takes nothing of a rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a request: all that it needs, or nothing."""

    granted: bool
    lacking: Sequence[str] = field(default=())  # resources of which there is not enough now
    at: str | None = None  # when to ask again, ISO 8601; None: when it is woken


class ResourceService(Protocol):
    """Grants named resources."""

    def holds(self, flow: Flow, request_id: str) -> bool:
        """Tell whether an attempt has what it needs.

        Args:
            flow: the outermost flow.
            request_id: of the attempt.
        """

    def acquire(self, flow: Flow, requests: Sequence[ResourceRequest]) -> Sequence[Answer]:
        """Grant each request all that it needs at once, or nothing.

        What was granted is given back when the attempt is over, or no flow has it any more. A stored
        service grants in a transaction of its own, at once, and takes back with the save of the end.

        Args:
            flow: the outermost flow.
            requests: the more urgent first. Once one was refused, others with the same needs are too.
        """

    def are_held_around(self) -> bool:
        """Tell whether a flow around the outermost one, which is a stored sub-flow, holds resources."""


class OwnResources(ResourceService, Protocol):
    """Grants resources to the flows in an engine's memory.

    Attributes:
        is_in_use: whether anything was ever asked for.
    """

    is_in_use: bool

    def end_tick(self, flow: Flow, at: str) -> None:
        """Take back what the tick's tasks are done with, and let those that were refused ask again."""


class JobService(Protocol):
    """Keeps the jobs that tasks start.

    Attributes:
        poll_seconds: how soon a task looks again for the end of its job; None: it is woken.
        executor: name of the executor that starts what names none.
    """

    @property
    def poll_seconds(self) -> float | None:
        """As above."""

    @property
    def executor(self) -> str:
        """As above."""

    def of_modules(self, executor: str) -> ModuleSettings:
        """Return what the settings of an executor say to job modules.

        Raises:
            ExecutorError: that is not what was expected.
        """

    def start(self, job: Job) -> None:
        """Take over a new job; does nothing if one with that key was started already.

        A stored service writes it in the same transaction as the task's next save, and starts it then.

        Raises:
            ExecutorError: there is no such executor.
        """

    def take_done(self, job: Job) -> tuple[str, Outcome] | None:
        """Return key and outcome of a COMPLETED job with the same `work_digest`, if there is one.

        A stored service notes in the history that the task of `job` takes its result.
        """

    def poll(self, key: str) -> JobState:
        """Return how far a job is.

        Raises:
            JobNotFoundError: there is none with that key.
        """

    def read_result(self, reference: str) -> Any:
        """Return a result that is kept in a file; see `mc.flows.jobs.result_reference`.

        Raises:
            JobError: it cannot be read.
        """

    def cancel(self, key: str, reason: str) -> None:
        """Stop a job that is unfinished; does nothing otherwise."""


class TransactionService(Protocol):
    """Offers the store's connection to transactional tasks."""

    def __call__(self, call: OpenCall, /) -> AbstractContextManager[Any]:
        """Return a block that is given the connection.

        What is written in the block is committed together with the status of the call's task, if that is
        COMPLETED, and is gone otherwise.
        """


class MissingHandlerService(Protocol):
    """Takes note of tasks that are left as they are, because their handler is missing in this process."""

    def note(
        self, error: McError, task: Task, ctx: Mapping[str, Any], *outer: str, function: str | None = None
    ) -> None:
        """Note a task.

        Args:
            error: why it cannot be called.
            task: the task.
            ctx: a context of its flow, with `parent` where it is a sub-flow inside a task.
            *outer: keys of the tasks that it stands inside of, in that flow.
            function: what a `call` names, where that is what cannot be called.
        """


class CallWatch(Protocol):
    """Is told which calls are under way inside of others, so that those that last are seen by everybody."""

    def begin(self, call: Any) -> None:
        """Take note that a call is about to be made."""

    def hold_others(self, call: Any) -> None:
        """Take note that a call makes calls of tasks inside of it."""

    def end(self, call: Any) -> None:
        """Take note that a call has come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesting:
    """What a flow that lives inside a task, and a call, stand inside of; nothing, unless it says so."""

    outermost_flow: Flow | None = None  # to which signals are sent
    outermost_task_key: str | None = None  # of its task
    resource_holder: str | None = None  # key of a task around the flow that holds resources
    in_place_of: str | None = None  # key of the flow's task in whose place the call's task is ticked


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers may ask of their surroundings; found as `task_ctx.services`.

    `FlowEngine.services` serve without a store; a runner replaces members by its own.
    """

    sub_flows: SubFlowService
    resources: ResourceService
    jobs: JobService | None = None  # None: nobody can start any
    transaction: TransactionService | None = None  # None: no store is there to offer a connection
    save_effects: SaveEffects | None = None  # after each call inside a call; None: nothing is saved
    call_watch: CallWatch | None = None  # None: nobody looks
    missing_handlers: MissingHandlerService | None = None  # None: a task without handler fails
    overrides: Mapping[str, Handler] = field(
        default_factory=dict
    )  # by task type, in the place of the registered
    nesting: Nesting = Nesting()


def graph_task_key(ctx: Mapping[str, Any]) -> str:
    """Return the key of the task of its flow that a context belongs to.

    It is not the key of `ctx["task"]` where that one is ticked in the place of another.
    """
    services: Services | None = ctx.get(SERVICES)  # what is around a stored sub-flow has none
    in_place_of = services.nesting.in_place_of if services is not None else None
    return in_place_of if in_place_of is not None else str(ctx["task"].get("key"))


class EngineServices(Protocol):
    """What the parts of a tick ask of the engine; `FlowEngine` is one."""

    clock: Clock
    limits: Limits
    logger: logging.Logger
    max_msg_len: int | None
    registry: HandlerRegistry
    services: Services

    @property
    def known_handlers(self) -> Mapping[str, Handler]:
        """Handlers by task type, as far as they were looked up."""

    @property
    def observers(self) -> Sequence[Observer]:
        """Who is told of changes."""

    def find_sub_flow(self, key: str) -> Flow | None:
        """Return a sub-flow that is in memory."""

    def read_timestamp(self) -> float:
        """Read the clock: seconds since 1970."""

    def format_timestamp(self, timestamp: float) -> str:
        """Return a time as ISO 8601."""

    @property
    def own_jobs(self) -> JobService:
        """Who starts jobs where no store keeps them."""

    @property
    def resources(self) -> OwnResources:
        """Who grants resources where no store does."""

    def begin_tick(
        self,
        flow: Flow,
        task_ctx: Mapping[str, Any] | None = None,
        tick_fn_for_task_ctx_overrides: Mapping[str, Any] | None = None,
    ) -> OpenTick:
        """Return a tick whose calls somebody else makes; see `FlowEngine.begin_tick`."""

    def cancel_flow(
        self, flow: Flow, reason: str | None = None, task_ctx: Mapping[str, Any] | None = None
    ) -> None:
        """Cancel a flow that is unfinished; see `FlowEngine.cancel_flow`."""

    def has_handler(self, task_type: Any) -> bool:
        """Tell whether there is a handler of a task type that can be used."""

    def resolve_handler(self, task_type: Any) -> Handler:
        """Return the handler of a task type, or raise `TaskHandlerError`."""


class OpenTick(Protocol):
    """What the parts of a tick ask of it; `Tick` is one.

    Attributes:
        at: the time of what it does at this moment, ISO 8601.
        has_pending_calls: whether outcomes of calls are awaited.
        state: of the flow.
    """

    at: str
    engine: EngineServices
    flow: Flow
    has_pending_calls: bool
    report: TickReport
    services: Services
    state: FlowState

    @property
    def ctx(self) -> Mapping[str, Any]:
        """What handlers find in their `task_ctx`, whatever the task."""

    @property
    def now(self) -> datetime:
        """The same as `at`."""

    def read_clock(self) -> None:
        """Go on with the present time."""

    def between_ticks(self) -> AbstractContextManager[None]:
        """Let observers and the journal hear of what is changed meanwhile."""

    def calls(self) -> Any:
        """Yield the calls that the tick wants made."""

    def cancel(self) -> None:
        """End an unfinished flow CANCELLED, with what runs in it."""

    def finish(self) -> TickReport:
        """Settle the flow's status, and say what the tick did."""

    def new_call(self, node: TaskNode, handler: Handler) -> Any:
        """Return a call of a task's handler that is not made yet."""

    def read_results(self) -> dict[str, Any]:
        """Return what the flow's `results` lead to, or raise `PathError`."""

    def stop_task(self, node: TaskNode) -> None:
        """Let the handler of a task that is under way stop what it started."""
