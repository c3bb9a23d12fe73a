"""The signals of a flow that no task has taken yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mc.context.json_values import copy_json, json_type_name
from mc.durations import parse_time
from mc.errors import DurationError, FlowFormatError

__all__ = ["Mailbox", "Signal", "TakenSignal", "signal_from_dict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A named message to a flow from outside."""

    id: str  # unique in the flow; a second signal with it is the same one
    name: str
    data: Any  # a JSON value
    sent_at: str  # ISO 8601 UTC
    sent_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the signal as JSON-safe data."""
        return {
            "id": self.id,
            "name": self.name,
            "data": copy_json(self.data),
            "sent_at": self.sent_at,
            "sent_by": self.sent_by,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenSignal:
    """What became of a signal."""

    signal: Signal
    task_key: str  # of the outermost flow
    taken_by: str  # idempotency key of the attempt that took it
    taken_at: str  # ISO 8601 UTC


class Mailbox:
    """Signals in the order in which they came, until tasks take them.

    Attributes:
        is_new: whether signals came since waits were looked for last.
        added: signals that came while the flow was in memory and that no store has.
        taken: signals that were taken since the last save.
    """

    __slots__ = ("_by_name", "_known", "_reserved", "_reserved_ids", "_signals", "added", "is_new", "taken")

    def __init__(self) -> None:
        self._signals: dict[str, Signal] = {}  # not taken, by id
        self._by_name: dict[str, dict[str, Signal]] = {}
        self._known: dict[str, Signal] = {}  # by id, those that were taken included
        self._reserved: dict[str, Signal] = {}  # wait -> the signal that woke it
        self._reserved_ids: set[str] = set()
        self.is_new = False
        self.added: list[Signal] = []
        self.taken: list[TakenSignal] = []

    def __len__(self) -> int:
        return len(self._signals)

    def __iter__(self) -> Iterator[Signal]:
        return iter(self._signals.values())

    def put(self, signal: Signal, *, is_stored: bool = False) -> bool:
        """Take in a signal; False if one with its id came before."""
        if signal.id in self._known:
            return False
        self._known[signal.id] = signal
        self._signals[signal.id] = signal
        self._by_name.setdefault(signal.name, {})[signal.id] = signal
        self.is_new = True
        if not is_stored:
            self.added.append(signal)
        return True

    def names(self) -> list[str]:
        """Return the names of the signals that no task has taken."""
        return list(self._by_name)

    def get(self, signal_id: str) -> Signal | None:
        """Return a signal by its id, also one that was taken since the flow is in memory."""
        return self._known.get(signal_id)

    def find(self, name: str, wait_id: str, accepts: Callable[[Any], bool]) -> Signal | None:
        """Return the signal that a wait is to take: the one kept for it, else the oldest that is free.

        Args:
            name: of the signal.
            wait_id: of the wait.
            accepts: tells whether data fit the wait.
        """
        kept = self._reserved.get(wait_id)
        if kept is not None:
            return kept
        for signal in self._by_name.get(name, {}).values():
            if signal.id not in self._reserved_ids and accepts(signal.data):
                return signal
        return None

    def reserve(self, signal: Signal, wait_id: str) -> None:
        """Keep a signal for the wait that it wakes, so that no later wait gets it before."""
        self._reserved[wait_id] = signal
        self._reserved_ids.add(signal.id)

    def reserved_waits(self) -> set[str]:
        """Return the waits for which signals are kept."""
        return set(self._reserved)

    def free(self, wait_ids: Iterable[str]) -> None:
        """Keep nothing for waits that are over."""
        for wait_id in wait_ids:
            self._reserved_ids.discard(self._reserved.pop(wait_id).id)

    def take(self, signal: Signal, wait_id: str, task_key: str, at: str) -> None:
        """Give a signal to a wait: it is gone for all others."""
        del self._signals[signal.id]
        named = self._by_name[signal.name]
        del named[signal.id]
        if not named:
            del self._by_name[signal.name]
        if wait_id in self._reserved:
            self.free([wait_id])
        self.taken.append(TakenSignal(signal=signal, task_key=task_key, taken_by=wait_id, taken_at=at))

    def mark_saved(self, added: int, taken: int) -> None:
        """Forget what a store has committed."""
        del self.added[:added]
        del self.taken[:taken]


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "id": (str,),
    "name": (str,),
    "sent_at": (str,),
    "sent_by": (str, type(None)),
}


def signal_from_dict(value: Any, pointer: str) -> Signal:
    """Return the signal that `Signal.to_dict` made data of.

    Raises:
        FlowFormatError: it is malformed.
    """
    if not isinstance(value, Mapping):
        raise FlowFormatError(
            f"{pointer}: found {json_type_name(value)}, expected a signal.", pointer=pointer
        )
    for name in value:
        if name not in (*_TYPES, "data"):
            raise FlowFormatError(
                f"{pointer}/{name}: a signal has no such key; it has id, name, data, sent_at and sent_by.",
                pointer=f"{pointer}/{name}",
            )
    for name, types in _TYPES.items():
        found = value.get(name)
        if not isinstance(found, types) or found == "":
            raise FlowFormatError(
                f"{pointer}/{name}: found {json_type_name(found)}, expected a text that is not empty.",
                pointer=f"{pointer}/{name}",
            )
    try:
        parse_time(value["sent_at"])
    except DurationError as error:
        raise FlowFormatError(f"{pointer}/sent_at: {error.message}", pointer=f"{pointer}/sent_at") from error
    fields = {name: value.get(name) for name in _TYPES}
    return Signal(data=copy_json(value.get("data")), **fields)  # type: ignore[arg-type]
