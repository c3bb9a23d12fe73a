"""Processes of a job: its command, started so that none of what it starts can escape."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

__all__ = ["adopt_orphans", "die_with", "end_tree", "kill_remains", "list_tree", "reap", "start_command"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 500  # of kills, until what hangs in the kernel is given up
_ROUND_SECONDS = 0.01


def _find_prctl() -> ctypes._NamedFuncPointer | None:
    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None  # not Linux


_PRCTL = _find_prctl()


def _set_for_process(option: int, value: int) -> None:
    if _PRCTL is not None:
        _PRCTL(option, ctypes.c_ulong(value), 0, 0, 0)  # an older kernel refuses, which is all it can do


def adopt_orphans() -> None:
    """Become the parent of whatever the command starts and leaves behind."""
    _set_for_process(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, number: signal.Signals) -> None:
    """Have this process sent a signal when its parent dies; end it at once if that has died already."""
    _set_for_process(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def start_command(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
    streams: Mapping[int, int],
    memory_bytes: int | None,
    call: Callable[[], NoReturn] | None = None,
) -> int:
    """Start a command in a process group of its own, which dies with this process.

    Args:
        argv: program and arguments; the program is looked for in the `PATH` of `env`.
        env: its whole environment.
        cwd: its working folder; None: this process's.
        streams: its file descriptors, and what they are here.
        memory_bytes: of address space for each of its processes; None: no limit.
        call: is called in the new process, instead of a program.

    Returns:
        Its process id.

    Raises:
        OSError: it cannot be started; `filename` is `cwd` where that is what is wrong.
        ValueError: a text holds a null character.
    """
    parent = os.getpid()
    error_in, error_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        step = "fork"
        try:
            os.setpgid(0, 0)
            die_with(parent, signal.SIGKILL)
            _restore_signals()
            # Above what the command is given, so that none of it is overwritten.
            error_out = _move_up(error_out)
            moved = {fd: _move_up(own) for fd, own in streams.items()}
            for fd, own in moved.items():
                os.dup2(own, fd)
            if memory_bytes is not None:
                step = "memory"
                resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            if cwd is not None:
                step = "cwd"
                os.chdir(cwd)
            step = "argv"
            if call is None:
                os.execvpe(argv[0], list(argv), dict(env))  # noqa: S606 - what the job is
            else:
                os.environ.clear()
                os.environ.update(env)
                _close_others([*streams, error_out])
                os.close(error_out)
                call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
            number = error.errno if isinstance(error, OSError) else 0
            os.write(error_out, f"{step}\n{number or 0}\n{error}".encode("utf-8", "replace")[:4000])
        finally:
            os._exit(127)
    os.close(error_out)
    try:
        os.setpgid(pid, pid)  # whichever comes first, or a signal to the group may miss it
    except OSError:
        pass  # it has begun its program, or ended
    with open(error_in, "rb") as file:
        told = file.read().decode("utf-8", "replace")
    if told:
        os.waitpid(pid, 0)
        step, code, text = told.split("\n", 2)
        _raise_start_error(step, int(code), text, argv[0], cwd)
    return pid


def _close_others(kept: Iterable[int]) -> None:
    """Close all file descriptors but some, as a program that is executed finds them closed."""
    for fd in [int(name) for name in os.listdir("/dev/fd")]:
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                pass  # that of the listing


def _raise_start_error(step: str, code: int, text: str, program: str, cwd: str | None) -> None:
    if not code:
        raise ValueError(text)
    raise OSError(code, os.strerror(code), cwd if step == "cwd" else program if step == "argv" else step)


def _move_up(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)


def _restore_signals() -> None:
    """Undo what Python and the script do to signals, which a program would inherit."""
    signal.set_wakeup_fd(-1)
    for name in ("SIGPIPE", "SIGXFSZ", "SIGHUP", "SIGTERM", "SIGINT", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reap() -> Iterator[tuple[int, int]]:
    """Yield id and wait status of children that ended, adopted ones too.

    Raises:
        ChildProcessError: no child is left.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        yield pid, status


def list_tree(root: int) -> list[int]:
    """Return the processes that descend from one, parents first; without them where there is no `/proc`."""
    return _list_descendants(root, {pid: parent for pid, parent, _ in _list_processes()})


def _list_descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found[1:]


def _list_processes() -> Iterator[tuple[int, int, int]]:
    """Yield number, parent and session of the processes that have not ended."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it has ended
            if fields[0] not in (b"Z", b"X"):
                yield int(name), int(fields[1]), int(fields[3])


def end_tree(group: int, number: signal.Signals) -> None:
    """Send a signal to all that descends from this process, and to a process group."""
    tree = list_tree(os.getpid())
    for pid in tree:
        _send(os.kill, pid, number)
    if not tree and not os.path.exists("/proc/self"):
        _send(os.killpg, group, number)  # all that can be found there
    if number != signal.SIGKILL:
        for pid in tree:  # one that is stopped would not hear of it
            _send(os.kill, pid, signal.SIGCONT)


def kill_remains(leader: int, mark: str | None) -> None:
    """Kill what a script of a job left behind, or is at, and the script last.

    Args:
        leader: the script, which leads its session.
        mark: which its processes bear in their environment; None: unknown.
    """
    _send(os.kill, leader, signal.SIGSTOP)  # it must not tell of what is done here as of an end of the job
    for _ in range(_ROUNDS):  # for what was started meanwhile
        remains = _list_remains(leader, mark)
        for pid in remains:
            _send(os.kill, pid, signal.SIGKILL)
        if not remains:
            break
        time.sleep(_ROUND_SECONDS)
    _send(os.kill, leader, signal.SIGKILL)


def _list_remains(leader: int, mark: str | None) -> list[int]:
    parents: dict[int, int] = {}
    found = set()
    line = None if mark is None else f"MC_JOB_PROCESS={mark}".encode()
    for pid, parent, its_leader in _list_processes():
        parents[pid] = parent
        if its_leader == leader or (line is not None and line in _read_env(pid)):
            found.add(pid)
    for root in [leader, *found]:
        found.update(_list_descendants(root, parents))
    return sorted(found - {leader, os.getpid()})


def _read_env(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []  # it has ended, or is another user's


def _send(send: Callable[[int, int], None], pid: int, number: signal.Signals) -> None:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or became another user's
