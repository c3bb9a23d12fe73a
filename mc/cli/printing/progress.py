"""Progress of a run on stdout: a table on a terminal, a line per change elsewhere."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mc.cli.printing.output import (
    STATUS_STYLES,
    format_counts,
    is_terminal,
    printable,
    show_seconds,
)
from mc.cli.printing.stop_notice import write_to_stderr
from mc.durations import seconds_between
from mc.errors import StoreError
from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mc.flows.observer import ChangeEvent
    from mc.store.job_record import JobRecord

__all__ = ["LineProgress", "Progress", "TableProgress", "make_progress"]

_STDERR: Final = 2
_SHOWN_TASKS: Final = 12
_SHOWN_RUNNING: Final = 8  # among them
_BAR_WIDTH: Final = 30
_LONGEST_ERROR: Final = 300
_SHORT_SECONDS: Final = 0.1  # of which nothing is said
_JOB_SECONDS: Final = 0.5  # between two looks for how far jobs are
_LONGEST_NOTE: Final = 60


class Progress:
    """Follows a run as an observer, and says nothing."""

    counts_fans: ClassVar[bool] = False  # whether it makes use of `take_up`

    def on_change(self, event: ChangeEvent) -> None:
        """Take note of a change of status."""

    def notify(self, text: str) -> None:
        """Show a line at once; called in a signal handler."""
        write_to_stderr(text)

    @contextmanager
    def following(self, flow_key: str) -> Iterator[None]:
        """Follow a flow while the block runs."""
        self.flow_key = flow_key
        yield

    def take_up(self, flow_key: str, tasks: Mapping[str, int]) -> None:
        """Follow a sub-flow that is under way already.

        Args:
            flow_key: of the sub-flow.
            tasks: how many of its tasks have each status.
        """

    def expect_loops(self, spec: Mapping[str, Any]) -> None:
        """Learn of a sound spec how many rounds its loops may make."""

    def watch_jobs(self, find: Callable[[], Sequence[JobRecord]]) -> None:
        """Learn how to find the jobs that run, from any thread."""

    def name_task(self, event: ChangeEvent) -> str:
        """Return the task's key, with the path of the sub-flow that it is in."""
        inside, key = self.name_inside(event.flow_key), printable(event.task_key or "")
        return f"{inside}/{key}" if inside else key

    def name_inside(self, flow_key: str) -> str:
        """Return the path of a sub-flow: its key without attempts and rounds, which are numbers."""
        parts = flow_key.removeprefix(self.flow_key).strip("/").split("/")
        return printable("/".join(part for part in parts if not part.isdigit()))


class LineProgress(Progress):
    """Prints a line for each change of the flow's own tasks, and for each failure inside sub-flows.

    Of a task that waits and runs in turn, the first of both is told.
    """

    def __init__(self) -> None:
        self.is_pipe_closed = False
        self._begun: dict[tuple[str, str, int], str] = {}  # flow, task, attempt -> when
        self._waited: set[tuple[str, str, int]] = set()

    def on_change(self, event: ChangeEvent) -> None:
        place = (event.flow_key, event.task_key or "", event.attempt)
        took = ""
        if event.new_status == "RUNNING":
            if place in self._begun:
                return
            self._begun[place] = event.at
        elif event.new_status == "WAITING":
            if place in self._waited:
                return
            self._waited.add(place)
        else:
            self._waited.discard(place)
            seconds = seconds_between(self._begun.pop(place, None), event.at) or 0.0
            took = f" in {show_seconds(seconds)}" if seconds >= _SHORT_SECONDS else ""
        own = event.flow_key == self.flow_key
        if event.task_key is None or self.is_pipe_closed or not (own or event.new_status == "FAILED"):
            return
        try:
            print(f"{event.at[11:19]}  {self.name_task(event)}  {_describe_change(event, took)}", flush=True)
        except BrokenPipeError:  # the run goes on without its reader
            self.is_pipe_closed = True


@dataclass(slots=True)
class _Fan:
    """How far a sub-flow of several tasks is."""

    total: int
    finished: Counter[str]  # status -> tasks

    def describe(self) -> str:
        """Return `177/500, 3 FAILED`."""
        finished = dict(self.finished)  # which other threads go on to count
        done = sum(finished.values())
        bad = {status: count for status, count in finished.items() if count and status != "COMPLETED"}
        return f"{done}/{self.total}" + (f", {format_counts(bad)}" if bad else "")


class TableProgress(Progress):
    """Keeps a table of the flow's tasks up to date on a terminal, with a bar for each fan."""

    counts_fans: ClassVar[bool] = True

    def __init__(self) -> None:
        self.finished: Counter[str] = Counter()  # of the flow's own tasks
        self.running: dict[str, tuple[str, str]] = {}  # task -> status, key of its flow
        self.fans: dict[str, _Fan] = {}  # key of a sub-flow that is under way
        self.recent: deque[tuple[str, str, str]] = deque(maxlen=_SHOWN_TASKS)  # task, status, note
        self.notice = ""
        self.loops: dict[str, Mapping[str, Any]] = {}  # path of a loop -> its parameters
        self.rounds: dict[str, int] = {}  # path of a loop -> rounds that have begun
        self.jobs: dict[str, tuple[float | None, str]] = {}  # task -> how far its job says that it is
        self._find_jobs: Callable[[], Sequence[JobRecord]] = tuple
        self._jobs_at = 0.0  # when to look for them

    def watch_jobs(self, find: Callable[[], Sequence[JobRecord]]) -> None:
        self._find_jobs = find

    def expect_loops(self, spec: Mapping[str, Any]) -> None:
        from mc.spec.spec_level import make_level
        from mc.spec.task_outputs import params_of, task_type_of

        levels = [make_level(spec)]
        while levels:
            level = levels.pop()
            loops = (task for task in level.tasks if task_type_of(task.spec) == "loop")
            self.loops |= {printable(task.shown): params_of(task.spec) for task in loops}
            levels += [inner for _, inner in level.sub_levels()]

    def take_up(self, flow_key: str, tasks: Mapping[str, int]) -> None:
        name = self.name_inside(flow_key)
        if name in self.loops:
            self.rounds[name] = int(flow_key.rpartition("/")[2]) + 1
        finished = Counter({name: count for name, count in tasks.items() if name in FINISHED_TASK_STATUSES})
        if flow_key == self.flow_key:
            self.finished = finished
        elif sum(tasks.values()) > 1:
            self.fans[flow_key] = _Fan(sum(tasks.values()), finished)

    def on_change(self, event: ChangeEvent) -> None:
        if event.task_key is None:
            if event.new_status in FINISHED_FLOW_STATUSES:
                self.fans.pop(event.flow_key, None)
            else:  # it may have begun, ended and been retried before
                self.take_up(event.flow_key, event.tasks or {})
            return
        name, status, own = self.name_task(event), event.new_status, event.flow_key == self.flow_key
        fan = self.fans.get(event.flow_key)
        finished = self.finished if own else fan.finished if fan is not None else Counter()
        if event.old_status in FINISHED_TASK_STATUSES:  # it is set back
            finished[event.old_status] -= 1
        if status in FINISHED_TASK_STATUSES:
            self.running.pop(name, None)
            finished[status] += 1
            if own or status == "FAILED":
                self.recent.append((name, status, _describe_error(event)))
            self.rounds.pop(name, None)
        elif status == "PENDING":  # an attempt failed and another one follows
            self.running.pop(name, None)
            self.recent.append((name, "RETRY", _describe_error(event)))
        else:
            self.running[name] = status, event.flow_key

    def notify(self, text: str) -> None:
        self.notice = text  # which the thread that draws the table shows below it
        if not os.isatty(_STDERR):
            write_to_stderr(text)

    @contextmanager
    def following(self, flow_key: str) -> Iterator[None]:
        from rich.live import Live

        self.flow_key = flow_key
        with Live(get_renderable=self.draw, refresh_per_second=8, transient=True):
            yield

    def draw(self) -> RenderableType:
        """Return the table as it is now."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        running = list(self.running.items())
        own = sum(flow_key == self.flow_key for _, (_, flow_key) in running)
        counts = format_counts({**self.finished, "RUNNING": own})
        table = Table.grid("task", "status", "note", padding=(0, 2))
        now = list(self._rows_of_fans())
        fans = {name for name, *_ in now}
        crowds = {key for key, fan in list(self.fans.items()) if fan.total > _SHOWN_RUNNING}
        self._look_at_jobs()
        now += [
            (name, status, self._draw_job(name))
            for name, (status, flow_key) in running
            if name not in fans and flow_key not in crowds
        ]
        del now[_SHOWN_RUNNING:]
        past = [(name, status, Text(note)) for name, status, note in self.recent]
        for name, status, note in [*past[len(now) - _SHOWN_TASKS :], *now]:
            table.add_row(Text(name), Text(status, style=STATUS_STYLES.get(status, "yellow")), note)
        return Group(Text(f"{printable(self.flow_key)}: {counts}", style="bold"), table, Text(self.notice))

    def _rows_of_fans(self) -> Iterator[tuple[str, str, RenderableType]]:
        """Yield the tasks that sub-flows are inside of, each with a bar."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        fans = {self._name_around(key): fan for key, fan in list(self.fans.items())}
        for name, number in list(self.rounds.items()):
            if name in self.running:
                fan = fans.pop(name, None)
                inside = f", {fan.describe()}" if fan is not None else ""
                yield name, self.running[name][0], self._draw_round(self.loops[name], number, inside)
        for name, fan in fans.items():
            status, _ = self.running.get(name, ("RUNNING", ""))
            done = sum(dict(fan.finished).values())
            note = Table.grid(padding=(0, 1))
            note.add_row(ProgressBar(fan.total, done, width=_BAR_WIDTH), Text(fan.describe()))
            yield name, status, note

    def _look_at_jobs(self) -> None:
        if time.monotonic() < self._jobs_at:
            return
        with suppress(StoreError):  # the run tells of it
            found = {}
            for record in self._find_jobs():
                inside = self.name_inside(record.job.flow_key)
                name = f"{inside}/{record.job.task_path}" if inside else record.job.task_path
                text = printable(str(record.progress.get("text") or ""), _LONGEST_NOTE)
                found[printable(name)] = record.progress.get("fraction"), text
            self.jobs = found
        self._jobs_at = time.monotonic() + _JOB_SECONDS

    def _draw_job(self, name: str) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        fraction, text = self.jobs.get(name, (None, ""))
        if fraction is None:
            return Text(text)
        note = Table.grid(padding=(0, 1))
        told = f"{100 * fraction:.0f} % {text}".rstrip()
        note.add_row(ProgressBar(1, fraction, width=_BAR_WIDTH), Text(told))
        return note

    @staticmethod
    def _draw_round(params: Mapping[str, Any], number: int, inside: str) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        most = params.get("max_iterations")
        if not isinstance(most, int):
            return Text(f"round {number}{inside}")
        at_most = "at most " if "until" in params or "while" in params else ""
        note = Table.grid(padding=(0, 1))
        bar = ProgressBar(most, number - 1, width=_BAR_WIDTH)
        note.add_row(bar, Text(f"round {number} of {at_most}{most}{inside}"))
        return note

    def _name_around(self, flow_key: str) -> str:
        """Return the name of the task that a sub-flow is inside of, whose key goes on with numbers."""
        whole = name = self.name_inside(flow_key)
        while name and name not in self.running:
            name = name.rpartition("/")[0]
        return name or whole.rpartition("/")[0] or whole


def make_progress(*, silent: bool) -> Progress:
    """Return what fits stdout: nothing where it must stay silent."""
    if silent:
        return Progress()
    return TableProgress() if is_terminal() else LineProgress()


def _describe_change(event: ChangeEvent, took: str) -> str:
    note = _describe_error(event)
    if event.new_status == "PENDING":
        return f"attempt {event.attempt} failed{took}, to be tried again  {note}".rstrip()
    return f"{event.new_status}{took}  {note}".rstrip()


def _describe_error(event: ChangeEvent) -> str:
    error: dict[str, Any] = event.error or {}
    if not error:
        return ""
    return printable(f"{error.get('type', 'TaskFailed')}: {error.get('message', '')}", _LONGEST_ERROR)
