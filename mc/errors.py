"""The errors of MissionControl: one tree.

    McError
    ├── SpecError                 a flow spec is wrong; .problems lists everything
    │   └── SpecSyntaxError       a text is not JSON or YAML; .line, .column
    ├── DurationError             a text is not a duration or a time
    ├── NotJsonError              a value cannot be held by JSON; .pointer
    ├── PatternError              a text is not a regular expression that can be used
    ├── GraphError                a task or an edge does not fit the graph
    │   └── CycleError            edges lead back to where they began; .cycle
    ├── StatusError               a status change that the tables do not allow
    ├── FlowFormatError           a flow dict is malformed; .pointer
    ├── ContextError              a task could not read or write its context
    │   ├── PathError             a path leads nowhere; .path, .missing_step
    │   ├── WiringError           a wiring cannot be carried out
    │   ├── SizeError             a value is or would become larger than allowed; .size, .limit
    │   └── ConditionError        a condition cannot be evaluated
    ├── TaskHandlerError          a task type has no handler that can be used
    │   ├── UnknownTaskTypeError  no handler is registered under that name
    │   ├── TaskTypeNotAllowedError  the import path is outside the allowed modules
    │   ├── HandlerVersionError      a task has begun with a version of its handler that is not here
    │   └── CoroutineHandlerError    a coroutine handler was met outside asyncio
    ├── NotAllowedError           a task names a command or an address that nobody allowed; .name
    ├── SettingsError             a settings file, an option or an environment variable is wrong
    ├── FlowError                 a flow ended FAILED; .flow
    │   └── FailureLimitError     more items of a spread failed than it tolerates
    ├── MaxTicksError             a flow was unfinished after its ticks; .flow, .unfinished
    ├── SignalError               a signal or an approval is refused; .problems
    ├── ControlError              what a person asks of a flow does not fit its state
    ├── MigrationError            a flow cannot be moved to a new spec; .obstacles lists all reasons
    ├── ResourceError             a named resource cannot be set, asked for or deleted so
    ├── JobError                  a job failed, or cannot be found or changed so
    │   ├── JobLostError          a job ended without a word, or gave no sign of life
    │   └── JobNotFoundError      no job has that key
    ├── ExecutorError             an executor is unknown, cannot be reached, or refuses a job
    └── StoreError                persistence
        ├── StoreUnreachableError the database cannot be opened or has gone away
        │   ├── StoreBusyError    a lock was held for longer than the busy timeout
        │   └── StoreReplacedError  the database is another one than the process began with
        ├── DatabaseUrlError      a text is no URL of a database that can be used
        ├── SelectionError        flows cannot be chosen so
        ├── SchemaVersionError    the tables are missing, older or newer than this code
        ├── FlowNotFoundError     no flow has that key; .key
        ├── FlowExistsError       a flow with that key is stored already; .key
        ├── StaleFlowError        somebody else saved the flow since it was loaded
        └── LeaseLostError        the lease was taken over; what was done is not saved

Each message says what was wrong, where, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from mc.printable import printable

__all__ = [
    "ConditionError",
    "ContextError",
    "ControlError",
    "CoroutineHandlerError",
    "CycleError",
    "DatabaseUrlError",
    "DurationError",
    "ExecutorError",
    "FailureLimitError",
    "FlowError",
    "FlowExistsError",
    "FlowFormatError",
    "FlowNotFoundError",
    "GraphError",
    "HandlerVersionError",
    "JobError",
    "JobLostError",
    "JobNotFoundError",
    "LeaseLostError",
    "MaxTicksError",
    "McError",
    "MigrationError",
    "NotAllowedError",
    "NotJsonError",
    "Obstacle",
    "PathError",
    "PatternError",
    "Problem",
    "ResourceError",
    "SchemaVersionError",
    "SelectionError",
    "SettingsError",
    "SignalError",
    "SizeError",
    "SpecError",
    "SpecSyntaxError",
    "StaleFlowError",
    "StatusError",
    "StoreBusyError",
    "StoreError",
    "StoreReplacedError",
    "StoreUnreachableError",
    "TaskHandlerError",
    "TaskTypeNotAllowedError",
    "UnknownTaskTypeError",
    "WiringError",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a spec.

    Attributes:
        code: stable code and name, `MC101 unknown-precursor`.
        pointer: JSON Pointer to the place, `/tasks/3/precursors/0`.
        message: one sentence for a person.
        found: what stands there, shortened.
        expected: what may stand there.
        suggestion: the nearest valid name, where a name is wrong.
        line: of the text that the spec was read from, counted from 1; None: it was read from none.
        column: in that line, counted from 1.
    """

    code: str
    pointer: str
    message: str
    found: str | None = None
    expected: str | None = None
    suggestion: str | None = None
    line: int | None = None
    column: int | None = None

    def to_dict(self) -> dict[str, str | int | None]:
        """Return the problem as JSON-safe data."""
        return asdict(self)

    def __str__(self) -> str:
        place = f" (line {self.line}, column {self.column})" if self.line is not None else ""
        text = printable(f"{self.pointer or '/'}{place}: {self.message} [{self.code}]")
        return f"{text} Did you mean {self.suggestion!r}?" if self.suggestion else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One reason why a flow cannot be moved to a new spec.

    Attributes:
        code: stable name, `finished-task-changed`.
        task_key: of the task that it is about; None: the flow.
        pointer: JSON Pointer into the new spec, `/tasks/3/task_params`.
        message: one sentence for a person.
        advice: what to do.
    """

    code: str
    task_key: str | None
    pointer: str
    message: str
    advice: str

    def to_dict(self) -> dict[str, str | None]:
        """Return the obstacle as JSON-safe data."""
        return asdict(self)

    def __str__(self) -> str:
        return printable(f"{self.pointer or '/'}: {self.message} [{self.code}] {self.advice}".rstrip())


class McError(Exception):
    """Something that MissionControl was asked to do cannot be done."""

    code: ClassVar[str] = "error"  # stable name of the error in JSON output

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n", 1)[0]
        self.details = details
        super().__init__(self.message)

    def __getattr__(self, name: str) -> Any:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-safe data: `{"error": {code, message, ...}}`."""
        plain = (str, int, float, bool, list, type(None))
        shown = {name: value for name, value in self.details.items() if isinstance(value, plain)}
        return {"error": {"code": self.code, "message": self.message, **shown}}


class SpecError(McError):
    """The flow spec is not valid; see `.problems`."""

    code = "invalid-spec"

    def __init__(self, message: str | None = None, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        if message is None and self.problems:
            count = len(self.problems)
            head = "1 problem" if count == 1 else f"{count} problems"
            shown = [f"  {problem}" for problem in self.problems[:20]]
            if count > len(shown):
                shown.append(f"  ... and {count - len(shown)} more")
            message = "\n".join([f"The flow spec has {head}:", *shown])
        super().__init__(message)

    def to_dict(self) -> dict[str, Any]:
        """Return the error and all its problems as JSON-safe data."""
        shape = super().to_dict()
        shape["error"]["problems"] = [problem.to_dict() for problem in self.problems]
        return shape


class SpecSyntaxError(SpecError):
    """The text is not JSON or YAML."""

    code = "invalid-json"

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        column: int | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message, problems)
        self.line = line
        self.column = column


class DurationError(McError):
    """The text is not a duration; write seconds, "15m", "1h30m" or ISO 8601 "PT15M"."""

    code = "invalid-duration"


class NotJsonError(McError):
    """The value cannot be written as JSON; keep to dicts with string keys, lists, text, finite numbers."""

    code = "not-json"


class PatternError(McError):
    """A regular expression cannot be read or searched for in linear time. Write it in RE2's syntax."""

    code = "invalid-pattern"


class GraphError(McError):
    """The task or the edge does not fit into the flow's graph."""

    code = "invalid-graph"


class CycleError(GraphError):
    """The edges lead back to where they began; a flow's graph must have no cycle."""

    code = "cycle"


class StatusError(McError):
    """The status change is not allowed."""

    code = "invalid-status-change"


class FlowFormatError(McError):
    """The flow dict is malformed."""

    code = "invalid-flow-dict"


class ContextError(McError):
    """A task could not read or write what its spec names."""

    code = "context-error"


class PathError(ContextError):
    """The path leads nowhere."""

    code = "path-not-found"


class WiringError(ContextError):
    """The wiring cannot be carried out."""

    code = "wiring-error"


class SizeError(ContextError):
    """The value is larger than the limits of the engine allow."""

    code = "too-large"


class ConditionError(ContextError):
    """The condition cannot be evaluated."""

    code = "condition-error"


class TaskHandlerError(McError):
    """The task type has no handler that can be used."""

    code = "task-handler-error"


class UnknownTaskTypeError(TaskHandlerError):
    """No handler is registered for the task type."""

    code = "unknown-task-type"


class TaskTypeNotAllowedError(TaskHandlerError):
    """The import path is outside the allowed modules; name its module in `handler_modules`."""

    code = "task-type-not-allowed"


class HandlerVersionError(TaskHandlerError):
    """The task has begun with another version of its handler, which this one does not accept."""

    code = "handler-version"


class CoroutineHandlerError(TaskHandlerError):
    """The handler is a coroutine function; tick the flow with `await engine.atick_flow(flow)`."""

    code = "coroutine-handler"


class NotAllowedError(McError):
    """The task names a command or an address that nobody allowed; see `allow`."""

    code = "not-allowed"


class SettingsError(McError):
    """A setting is wrong; see where it is said, and what must stand there."""

    code = "usage"


class FlowError(McError):
    """The flow ended FAILED; `.flow` holds it, `.names` the classes of what failed inside it."""

    code = "flow-failed"
    names: tuple[str, ...] = ()


class FailureLimitError(FlowError):
    """More items of a spread failed than it tolerates, or too few of them can be COMPLETED."""

    code = "failure-limit"


class MaxTicksError(McError):
    """The flow was still unfinished after the allowed number of ticks."""

    code = "max-ticks"


class SignalError(McError):
    """The flow cannot take the signal."""

    code = "signal-refused"

    def __init__(self, message: str | None = None, problems: Sequence[Problem] = (), **details: Any) -> None:
        self.problems = tuple(problems)
        super().__init__(message, **details)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-safe data, with what is wrong with the signal's data."""
        shape = super().to_dict()
        if self.problems:
            shape["error"]["problems"] = [problem.to_dict() for problem in self.problems]
        return shape


class ControlError(McError):
    """What was asked of the flow does not fit its state."""

    code = "control-refused"


class MigrationError(McError):
    """The flow cannot be moved to the new spec; see `.obstacles`."""

    code = "migration-refused"

    def __init__(
        self, message: str | None = None, obstacles: Sequence[Obstacle] = (), **details: Any
    ) -> None:
        self.obstacles = tuple(obstacles)
        super().__init__(message, **details)

    def to_dict(self) -> dict[str, Any]:
        """Return the error and all that stands in the way as JSON-safe data."""
        shape = super().to_dict()
        shape["error"]["obstacles"] = [obstacle.to_dict() for obstacle in self.obstacles]
        return shape


class ResourceError(McError):
    """A named resource cannot be set, asked for or deleted in this way."""

    code = "resource"


class JobError(McError):
    """The job failed, or what was asked of it does not fit its state."""

    code = "job-error"


class JobLostError(JobError):
    """The job ended without leaving an outcome, or gave no sign of life for longer than its lease."""

    code = "job-lost"


class JobNotFoundError(JobError):
    """No job with that key is stored."""

    code = "job-not-found"


class ExecutorError(McError):
    """The executor is unknown, cannot be reached, or refuses the job."""

    code = "executor"


class StoreError(McError):
    """The store could not do what it was asked to do."""

    code = "store-error"


class StoreUnreachableError(StoreError):
    """The database cannot be opened or has gone away; check the URL and that the server runs."""

    code = "store-unreachable"


class StoreBusyError(StoreUnreachableError):
    """Another process held the database's lock for longer than the busy timeout; try again."""

    code = "store-busy"


class StoreReplacedError(StoreUnreachableError):
    """The database is another one than the process began with; end the process and start it anew."""

    code = "store-replaced"


class DatabaseUrlError(StoreError):
    """The text is no URL of a database that the store can use; write one such as sqlite:///mc.sqlite3."""

    code = "database-url"


class SelectionError(StoreError):
    """Flows cannot be chosen so; see which statuses and times there are."""

    code = "selection"


class SchemaVersionError(StoreError):
    """The database's tables do not fit this version of the code."""

    code = "schema-version"


class FlowNotFoundError(StoreError):
    """No flow with that key is stored."""

    code = "flow-not-found"


class FlowExistsError(StoreError):
    """A flow with that key is stored already."""

    code = "flow-exists"


class StaleFlowError(StoreError):
    """Somebody else saved the flow since it was loaded; load it again."""

    code = "stale-flow"


class LeaseLostError(StoreError):
    """The lease on the flow was taken over by another runner; nothing was saved."""

    code = "lease-lost"
