"""Progress of a run on stdout: a table on a terminal, a line per change elsewhere."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from mc.cli.output import STATUS_STYLES, format_counts, is_terminal, printable, seconds_between, show_seconds
from mc.cli.stop_notice import write_to_stderr
from mc.statuses import FINISHED_TASK_STATUSES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mc.flows.observer import ChangeEvent

__all__ = ["LineProgress", "Progress", "TableProgress", "make_progress"]

_STDERR: Final = 2
_SHOWN_TASKS: Final = 12
_SHOWN_RUNNING: Final = 8  # among them
_LONGEST_ERROR: Final = 300
_SHORT_SECONDS: Final = 0.1  # of which nothing is said


class Progress:
    """Follows a run as an observer, and says nothing."""

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

    def name_task(self, event: ChangeEvent) -> str:
        """Return the task's key, with the path of the sub-flow that it is in."""
        inside = event.flow_key.removeprefix(self.flow_key).strip("/")
        key = event.task_key or ""
        return printable(f"{inside}/{key}" if inside else key)


class LineProgress(Progress):
    """Prints a line for each change of the flow's own tasks, and for each failure inside sub-flows."""

    def __init__(self) -> None:
        self.is_pipe_closed = False
        self._begun: dict[tuple[str, str, int], str] = {}  # flow, task, attempt -> when

    def on_change(self, event: ChangeEvent) -> None:
        place = (event.flow_key, event.task_key or "", event.attempt)
        took = ""
        if event.new_status == "RUNNING":
            self._begun.setdefault(place, event.at)
        elif event.new_status != "WAITING":
            seconds = seconds_between(self._begun.pop(place, None), event.at) or 0.0
            took = f" in {show_seconds(seconds)}" if seconds >= _SHORT_SECONDS else ""
        own = event.flow_key == self.flow_key
        if event.task_key is None or self.is_pipe_closed or not (own or event.new_status == "FAILED"):
            return
        try:
            print(f"{event.at[11:19]}  {self.name_task(event)}  {_describe_change(event, took)}", flush=True)
        except BrokenPipeError:  # the run goes on without its reader
            self.is_pipe_closed = True


class TableProgress(Progress):
    """Keeps a table of the flow's tasks up to date on a terminal."""

    def __init__(self) -> None:
        self.started = 0
        self.finished: Counter[str] = Counter()
        self.running: dict[str, str] = {}  # task -> status
        self.recent: deque[tuple[str, str, str]] = deque(maxlen=_SHOWN_TASKS)  # task, status, note
        self.notice = ""

    def on_change(self, event: ChangeEvent) -> None:
        if event.task_key is None:
            return
        name, status = self.name_task(event), event.new_status
        if status in FINISHED_TASK_STATUSES:
            self.running.pop(name, None)
            if event.flow_key == self.flow_key:
                self.finished[status] += 1
            if event.flow_key == self.flow_key or status == "FAILED":
                self.recent.append((name, status, _describe_error(event)))
        elif status == "PENDING":  # an attempt failed and another one follows
            self.running.pop(name, None)
            self.recent.append((name, "RETRY", _describe_error(event)))
        else:
            self.running[name] = status

    def notify(self, text: str) -> None:
        self.notice = text  # which the thread that draws the table shows below it
        if not os.isatty(_STDERR):
            write_to_stderr(text)

    @contextmanager
    def following(self, flow_key: str) -> Iterator[None]:
        from rich.live import Live

        self.flow_key = flow_key
        with Live(get_renderable=self._draw, refresh_per_second=8, transient=True):
            yield

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        running = list(self.running.items())
        counts = format_counts({**self.finished, "RUNNING": len(running)})
        table = Table.grid("task", "status", "note", padding=(0, 2))
        now = [(name, status, "") for name, status in running[:_SHOWN_RUNNING]]
        for name, status, note in [*list(self.recent)[len(now) - _SHOWN_TASKS :], *now]:
            style = STATUS_STYLES.get(status, "yellow")
            table.add_row(Text(name), Text(status, style=style), Text(note))
        return Group(Text(f"{printable(self.flow_key)}: {counts}", style="bold"), table, Text(self.notice))


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
