"""Threads of which one runs at a time, in an order that a director decides.

An actor runs until it says `pause`; then the director chooses who goes on. So the same choices give the
same run, whatever the machine does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Actor", "Killed", "Process", "Stage", "staged_heartbeats"]

# Where actors touch nothing that others see until their next pause.
START, BEAT, JOIN, LOCK = "start", "beat", "join", "lock"
_LOCAL = (START, BEAT, JOIN, LOCK)


class Killed(BaseException):
    """Ends an actor as SIGKILL does: nothing that it does on the way out has an effect."""


@dataclass(eq=False)
class Process:
    """Actors that are killed together."""

    name: str
    actors: list[Actor] = field(default_factory=list)
    killed: bool = False

    @property
    def done(self) -> bool:
        return all(actor.done for actor in self.actors)


class Actor:
    """A thread that runs when the director says so."""

    def __init__(self, name: str, process: Process, body: Callable[[], object], back: Lock) -> None:
        self.name = name
        self.process = process
        self.at = START  # what it is about to do
        self.may_go_on: Callable[[], bool] | None = None
        self.wakes_at: float | None = None  # virtual seconds
        self.done = False
        self.error: BaseException | None = None
        self._body = body
        self._back = back
        self._go = Lock()
        self._go.acquire()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        if self.done:
            return False
        return self.process.killed or self.may_go_on is None or self.may_go_on()

    def wait_for_cue(self) -> None:
        """Let the director go on, and return at the next cue."""
        self._back.release()
        self._go.acquire()

    def cue(self) -> None:
        self._go.release()
        self._back.acquire()
        if self.done:
            self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.process.killed:
                self._body()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._back.release()


class Stage:
    """Actors, and the virtual time that they share.

    Attributes:
        now: virtual seconds since the beginning; only the director moves it.
        current: who runs at this moment; None while the director does.
        stays: asked when an actor pauses that could go on; True spares the change of threads.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.stays: Callable[[Actor], bool] | None = None
        self._back = Lock()
        self._back.acquire()

    def spawn(self, name: str, process: Process, body: Callable[[], object]) -> Actor:
        """Add an actor, which starts at its first cue."""
        actor = Actor(name, process, body, self._back)
        self.actors.append(actor)
        process.actors.append(actor)
        return actor

    def ready(self) -> list[Actor]:
        """Return who can go on, in the order in which they entered."""
        return [actor for actor in self.actors if actor.is_ready]

    def next_wake(self) -> float | None:
        """Return the earliest time for which somebody waits."""
        return min(
            (actor.wakes_at for actor in self.actors if not actor.done and actor.wakes_at is not None),
            default=None,
        )

    def step(self, actor: Actor) -> None:
        """Let an actor run until it is about to do something that others see, or to its end.

        Raises:
            BaseException: what it raised.
        """
        self._step(actor)
        self.settle()

    def settle(self) -> None:
        """Let everybody go on who is about to do nothing that others see: the order does not matter."""
        while local := self.local():
            for actor in local:
                self._step(actor)

    def local(self) -> list[Actor]:
        """Return who can go on and is about to do nothing that others see."""
        return [actor for actor in self.actors if actor.at in _LOCAL and actor.is_ready]

    def _step(self, actor: Actor) -> None:
        self.current = actor
        actor.cue()
        self.current = None
        if actor.done:
            self.actors.remove(actor)
            if actor.error is not None:
                raise actor.error

    def kill(self, process: Process) -> None:
        """End a process at once."""
        process.killed = True
        for actor in list(process.actors):
            while not actor.done:
                self._step(actor)
        self.settle()

    def pause(self, at: str, until: Callable[[], bool] | None = None, wakes_at: float | None = None) -> None:
        """Hand over to the director; the director's own calls go through.

        Args:
            at: what the actor is about to do.
            until: whether it may go on.
            wakes_at: when it wants to go on, if at a time.
        """
        actor = self.current
        if actor is None:
            return
        if actor.process.killed:
            raise Killed
        actor.at, actor.may_go_on, actor.wakes_at = at, until, wakes_at
        if self.stays is None or until is not None or not self.stays(actor):
            actor.wait_for_cue()
        actor.may_go_on = actor.wakes_at = None
        if actor.process.killed:
            raise Killed

    def sleep(self, at: str, seconds: float) -> None:
        """Pause for a time, however short."""
        end = self.now + seconds
        self.pause(at, lambda: self.now >= end, end)


class _StagedThread:
    """A thread of the process that makes it, as an actor."""

    def __init__(self, stage: Stage, *, target: Callable[[], object], name: str, daemon: bool) -> None:
        self._stage = stage
        self._target = target
        self._name = name
        self._actor: Actor | None = None

    def start(self) -> None:
        maker = self._stage.current
        assert maker is not None
        self._actor = self._stage.spawn(f"{maker.name}.{self._name}", maker.process, self._target)

    def join(self) -> None:
        actor = self._actor
        assert actor is not None
        self._stage.pause(JOIN, lambda: actor.done)


class _StagedEvent:
    """An event that is waited for in virtual time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float) -> bool:
        end = self._stage.now + timeout
        self._stage.pause(BEAT, lambda: self._is_set or self._stage.now >= end, end)
        return self._is_set


class _StagedLock:
    """A lock that hands over to the director where it is held."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._is_held = False

    def __enter__(self) -> None:
        if self._is_held:
            self._stage.pause(LOCK, lambda: not self._is_held)
        self._is_held = True

    def __exit__(self, *exc_info: object) -> None:
        self._is_held = False


@contextmanager
def staged_heartbeats(stage: Stage) -> Iterator[None]:
    """Let the threads of heartbeats be actors."""
    from mc.runners import final_saves, heartbeat

    substitutes: dict[tuple[Any, str], Any] = {
        (heartbeat, "Thread"): lambda **options: _StagedThread(stage, **options),
        (heartbeat, "Event"): lambda: _StagedEvent(stage),
        (heartbeat, "Lock"): lambda: _StagedLock(stage),
        (final_saves, "Lock"): lambda: _StagedLock(stage),
    }
    before = {place: getattr(*place) for place in substitutes}
    for place, substitute in substitutes.items():
        setattr(*place, substitute)
    try:
        yield
    finally:
        for place, original in before.items():
            setattr(*place, original)
