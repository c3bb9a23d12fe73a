"""Supervision of one job: its command is started, listened to, ended in time, and its outcome written."""

from __future__ import annotations

import json
import os
import selectors
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import format_timestamp, note_trouble, write_json
    from mc.jobs.script.job_output import LogFile, OutputStream, OutputTail, ProgressLines, SecretMask
    from mc.jobs.script.job_processes import adopt_orphans, end_tree, reap, start_command
    from mc.jobs.script.job_work import REPLY_FD, Command
else:  # a script, and the files beside it
    from job_files import format_timestamp, note_trouble, write_json
    from job_output import LogFile, OutputStream, OutputTail, ProgressLines, SecretMask
    from job_processes import adopt_orphans, end_tree, reap, start_command
    from job_work import REPLY_FD

__all__ = ["PARSED_BYTES", "Supervisor"]

PARSED_BYTES = 4 * 1024 * 1024  # of the end of stdout, in which a result is looked for
_LOOK_SECONDS = 1.0  # how often the `stop` file is looked for
_PROGRESS_SECONDS = 0.5  # between two writes of `progress.json`
_KILL_SECONDS = 0.1  # between two rounds of KILL, for what was started meanwhile
_GIVE_UP_SECONDS = 10.0  # after the first KILL: what is left then hangs in the kernel
_READ = 65536  # bytes
_LAST_READS = 64  # after the end, which empties the largest pipe, whoever still writes into it


class Supervisor:
    """Runs a command to its end.

    Args:
        folder: of the job.
        job: from `job.json`.
        command: what is started.
        mask: of the secrets that it is given.
        is_stopping: whether this process was asked to end.
        call: calls a function in a process that is forked for it; None: an interpreter is started.

    Attributes:
        status: wait status of the command; None: it did not end.
        ended_by: why it was ended: the file `stop`, a `signal`, its `timeout`; None: it ended by itself.
        reply: what a function replied at its end.
        streams: `stdout` and `stderr`.
    """

    def __init__(
        self,
        folder: str,
        job: dict[str, Any],
        command: Command,
        mask: SecretMask,
        is_stopping: Callable[[], bool],
        call: Callable[[], NoReturn] | None = None,
    ) -> None:
        self.status: int | None = None
        self.ended_by: str | None = None
        self.reply: dict[str, Any] | None = None
        self.streams: dict[str, OutputStream] = {}
        self._folder = folder
        self._command = command
        self._mask = mask
        self._grace = float(job.get("grace_seconds", 10))
        self._heartbeat_seconds = float(job.get("heartbeat_seconds", 5))
        self._log_limit = int(job.get("log_limit_bytes", 10485760))
        self._selector = selectors.DefaultSelector()
        self._pid = 0
        self._is_stopping = is_stopping
        self._call = call
        self._has_stop_file = False
        self._ends_at: float | None = None  # when TERM is followed by KILL
        self._kill_at = 0.0
        self._given_up_at = 0.0
        self._progress: dict[str, Any] | None = None  # to be written
        self._progress_at = 0.0
        self._reply_text = bytearray()

    def run(self, timeout_seconds: float | None, memory_bytes: int | None) -> None:
        """Start the command, and return when it and all that it started have ended.

        Raises:
            OSError: it cannot be started.
            ValueError: likewise.
        """
        wakeup_in, wakeup_out = os.pipe()
        for fd in (wakeup_in, wakeup_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that it wakes the loop
        adopt_orphans()
        self._listen(wakeup_in, lambda: _read(wakeup_in))
        began = time.monotonic()
        timeout_at = None if timeout_seconds is None else began + timeout_seconds
        try:
            self._start(memory_bytes)
            self._loop(timeout_at)
        finally:
            signal.set_wakeup_fd(-1)
            for stream in self.streams.values():
                stream.close()
            self._write_progress(time.monotonic(), at_once=True)

    def _loop(self, timeout_at: float | None) -> None:
        beat_at = time.monotonic() + self._heartbeat_seconds  # until then the claim is a sign of life
        look_at = 0.0
        while True:
            now = time.monotonic()
            if now >= beat_at:
                self._touch_heartbeat()
                beat_at = now + self._heartbeat_seconds
            if now >= look_at:
                self._has_stop_file = os.path.exists(os.path.join(self._folder, "stop"))
                look_at = now + _LOOK_SECONDS
            self._write_progress(now)
            if not self._reap():
                break
            self._decide(now, timeout_at)
            if self._given_up_at and now >= self._given_up_at:
                break
            wake_at = min(beat_at, look_at, *self._next_times(timeout_at))
            self._handle_events(max(0.0, wake_at - time.monotonic()))
        for _ in range(_LAST_READS):
            if not self._handle_events(0):
                break
        if self.ended_by is None and self._is_stopping() and os.WIFSIGNALED(self.status or 0):
            self.ended_by = "signal"  # which whoever sent it sent to the command as well

    def _next_times(self, timeout_at: float | None) -> list[float]:
        times = [self._progress_at] if self._progress is not None else []
        if self._ends_at is not None:
            return [*times, self._kill_at]
        return times if timeout_at is None else [*times, timeout_at]

    def _decide(self, now: float, timeout_at: float | None) -> None:
        """Begin to end what runs where that is due, or go on to."""
        if self._ends_at is None:
            if self.status is not None:
                pass  # it left processes behind, which end with it
            elif self._has_stop_file:
                self.ended_by = "stop"
            elif self._is_stopping():
                self.ended_by = "signal"
            elif timeout_at is not None and now >= timeout_at:
                self.ended_by = "timeout"
            else:
                return
            end_tree(self._pid, signal.SIGTERM)
            self._ends_at = self._kill_at = now + self._grace
        elif now >= self._kill_at:
            end_tree(self._pid, signal.SIGKILL)
            self._kill_at = now + _KILL_SECONDS
            self._given_up_at = self._given_up_at or now + _GIVE_UP_SECONDS

    def _reap(self) -> bool:
        """Take note of processes that ended; False when none is left."""
        try:
            for pid, status in reap():
                if pid == self._pid:
                    self.status = status
        except ChildProcessError:
            return False
        return True

    def _start(self, memory_bytes: int | None) -> None:
        command = self._command
        stdout_in, stdout_out = os.pipe()
        stderr_in, stderr_out = os.pipe()
        streams = {1: stdout_out, 2: stderr_out}
        stdin_out = None
        stdin = None if self._call is not None else command.stdin
        if stdin is None:
            streams[0] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        else:
            streams[0], stdin_out = os.pipe()
        kept = max(command.output_limit, PARSED_BYTES if command.parses else 0)
        self._add_stream("stdout", stdout_in, kept, ProgressLines(self._tell_progress))
        self._add_stream("stderr", stderr_in, command.output_limit, None)
        if command.replies:
            reply_in, streams[REPLY_FD] = os.pipe()
            self._listen(reply_in, lambda: self._take_reply(_read(reply_in)))
        try:
            self._pid = start_command(
                command.argv, command.env, command.cwd, streams, memory_bytes, self._call
            )
        finally:
            for fd in streams.values():
                os.close(fd)
        if stdin_out is not None and stdin is not None:
            self._write_stdin(stdin_out, memoryview(stdin))

    def _add_stream(self, name: str, fd: int, kept: int, lines: ProgressLines | None) -> None:
        log = LogFile(os.path.join(self._folder, name), self._log_limit)
        stream = self.streams[name] = OutputStream(log, OutputTail(kept), self._mask.copy(), lines)

        def take() -> bytes | None:
            data = _read(fd)
            if data:
                stream.feed(data)
            return data

        self._listen(fd, take)

    def _listen(self, fd: int, take: Callable[[], bytes | None]) -> None:
        os.set_blocking(fd, False)
        self._selector.register(fd, selectors.EVENT_READ, take)

    def _write_stdin(self, fd: int, rest: memoryview) -> None:
        os.set_blocking(fd, False)

        def write() -> bytes | None:
            nonlocal rest
            try:
                rest = rest[os.write(fd, rest[:_READ]) :]
            except BlockingIOError:
                return None
            except BrokenPipeError:
                return b""  # it does not want more
            return bytes(rest[:1])

        self._selector.register(fd, selectors.EVENT_WRITE, write)

    def _handle_events(self, seconds: float) -> bool:
        """Read and write what can be; False when there was nothing to read."""
        events = self._selector.select(seconds)
        for key, _ in events:
            if key.data() == b"":
                self._selector.unregister(key.fd)
                os.close(key.fd)
        return bool(events)

    def _take_reply(self, data: bytes | None) -> bytes | None:
        """Read progress, and the result, of a function."""
        self._reply_text += data or b""
        if data:
            *lines, rest = self._reply_text.split(b"\n") if b"\n" in data else (self._reply_text,)
            self._reply_text = rest
            for line in lines:
                self._read_reply(bytes(line))
        return data

    def _read_reply(self, line: bytes) -> None:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            return  # the function wrote there itself
        if isinstance(reply, dict) and isinstance(reply.get("progress"), list):
            self._tell_progress(*reply["progress"])
        elif isinstance(reply, dict):
            self.reply = reply

    def _tell_progress(self, fraction: float | None, text: str) -> None:
        at = format_timestamp(time.time())
        self._progress = {"fraction": fraction, "text": self._mask.mask_text(text), "at": at}

    def _write_progress(self, now: float, at_once: bool = False) -> None:
        if self._progress is not None and (at_once or now >= self._progress_at):
            try:
                write_json(os.path.join(self._folder, "progress.json"), self._progress)
            except OSError as error:
                note_trouble(f"progress.json could not be written: {error.strerror}")
            self._progress = None
            self._progress_at = now + _PROGRESS_SECONDS

    def _touch_heartbeat(self) -> None:
        path = os.path.join(self._folder, "heartbeat")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.utime(path)
        except OSError as error:
            note_trouble(f"heartbeat could not be touched: {error.strerror}")


def _read(fd: int) -> bytes | None:
    """Return what can be read now; empty at the end; None: nothing yet."""
    try:
        return os.read(fd, _READ)
    except BlockingIOError:
        return None
