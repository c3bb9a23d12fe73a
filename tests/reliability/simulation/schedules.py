"""Every order in which processes can use a store, one run after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from tests.reliability.simulation.stage import Actor, Process
from tests.reliability.simulation.world import World, open_world

__all__ = ["Bounds", "Schedule", "draw", "explore"]

DEVIATES = 0.15  # how often an order that is drawn deviates, where it may

Option = tuple[str, object]


@dataclass(frozen=True)
class Bounds:
    """What may happen in a schedule besides that the processes take turns.

    Attributes:
        deviations: how often something else may happen than that who goes on goes on; None: always.
        expiries: how often so much time passes that the leases run out.
        kills: how many processes may be killed, at any transaction.
    """

    deviations: int | None = None
    expiries: int = 0
    kills: int = 0


@dataclass
class Schedule:
    """One order, and what is left to choose."""

    bounds: Bounds
    prefix: list[int]
    pick: Callable[[int], int] = lambda _: 0  # what is chosen after the prefix, of so many
    path: list[tuple[int, int]] = field(default_factory=list)  # (what was chosen, of how many)
    deviations: int = 0
    expiries: int = 0
    kills: int = 0

    def choose(self, options: list[Option]) -> Option:
        """Return what happens next."""
        if len(options) == 1 or self.deviations == self.bounds.deviations:
            return options[0]
        place = len(self.path)
        number = self.prefix[place] if place < len(self.prefix) else self.pick(len(options))
        self.path.append((number, len(options)))
        self.deviations += number > 0
        return options[number]

    def next_prefix(self, part: int, parts: int) -> list[int] | None:
        """Return how the next order of a part begins; None after the last.

        Orders that deviate first at the same place, in the same way, are of the same part.
        """
        path = list(self.path)
        while path:
            number, count = path.pop()
            if number + 1 < count:
                before = [chosen for chosen, _ in path]
                if any(before) or (len(path) + number + 1) % parts == part:
                    return [*before, number + 1]
                path.append((number + 1, count))
        return None


class _Play:
    """One run of a scenario under one schedule."""

    def __init__(self, world: World, schedule: Schedule) -> None:
        self.world = world
        self.schedule = schedule
        self.last: Actor | None = None
        self.decided: Option | None = None
        world.stage.stays = self.stays

    def run(self) -> None:
        stage = self.world.stage
        stage.settle()
        while True:
            option = self.decided or self.decide()
            self.decided = None
            if option is None:
                break
            kind, subject = option
            if kind == "go":
                assert isinstance(subject, Actor)
                self.last = subject
                stage.step(subject)
            elif kind == "kill":
                assert isinstance(subject, Process)
                self.schedule.kills += 1
                self.world.note(f"{subject.name} is killed")
                stage.kill(subject)
            else:
                assert isinstance(subject, float)
                self.pass_time(subject)
        stage.stays = None

    def stays(self, actor: Actor) -> bool:
        """Decide while an actor pauses; True where it goes on."""
        if self.world.stage.local():
            return False
        self.decided = self.decide()
        if self.decided == ("go", actor):
            self.decided = None
            return True
        return False

    def decide(self) -> Option | None:
        """Return what happens next, None when nobody can go on any more."""
        stage, bounds, schedule = self.world.stage, self.schedule.bounds, self.schedule
        ready = stage.ready()
        if not ready:
            wake = stage.next_wake()
            return ("pass", wake - stage.now) if wake is not None else None
        if self.last in ready:
            ready.remove(self.last)
            ready.insert(0, self.last)
        options: list[Option] = [("go", actor) for actor in ready]
        if schedule.kills < bounds.kills:
            options += [("kill", process) for process in _processes(ready[:1])]
        if schedule.expiries < bounds.expiries:
            options.append(("pass", 61.0))
        return schedule.choose(options)

    def pass_time(self, seconds: float) -> None:
        if seconds == 61.0:
            self.schedule.expiries += 1
        self.world.note(f"{seconds:g} s pass")
        self.world.stage.now += seconds
        self.world.stage.settle()


def _processes(actors: list[Actor]) -> list[Process]:
    return list(dict.fromkeys(actor.process for actor in actors))


def explore(
    enter: Callable[[World], None],
    check: Callable[[World], None],
    bounds: Bounds,
    first: list[int] | None = None,
    part: int = 0,
    parts: int = 1,
) -> Iterator[World]:
    """Run a scenario in each order, and yield the world after each run.

    Args:
        enter: puts the processes on the stage.
        check: what must hold at the end of each run.
        bounds: what may happen.
        first: how the first order begins; what comes before it is left out.
        part: of which part of the orders, from 0; the order without deviations is run in each.
        parts: how many parts there are.

    Raises:
        AssertionError: something does not hold; it names the order, which `first` repeats.
    """
    prefix: list[int] | None = first or []
    while prefix is not None:
        schedule = Schedule(bounds, prefix)
        world = _run(enter, check, schedule)
        if part == 0 or any(prefix):
            yield world
        prefix = schedule.next_prefix(part, parts)


def draw(
    enter: Callable[[World], None],
    check: Callable[[World], None],
    bounds: Bounds,
    random: Random,
    number: int,
) -> Iterator[World]:
    """Run a scenario in orders that are drawn, as `explore` does in each."""

    def pick(count: int) -> int:
        return random.randrange(1, count) if random.random() < DEVIATES else 0

    for _ in range(number):
        yield _run(enter, check, Schedule(bounds, [], pick))


def _run(enter: Callable[[World], None], check: Callable[[World], None], schedule: Schedule) -> World:
    with open_world() as world:
        try:
            enter(world)
            _Play(world, schedule).run()
            check(world)
        except BaseException as error:
            order = [number for number, _ in schedule.path]
            error.add_note("\n".join(["", f"in the order {order}:", *world.trace]))
            raise
    return world
