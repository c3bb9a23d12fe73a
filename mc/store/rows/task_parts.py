"""Large parameters of tasks, which are kept apart from the tasks' rows, and read when they are needed.

A task that has a flow inside of it is written each time that it waits for another item. Its parameters stay
as they are meanwhile, and may be a hundred thousand items.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from mc.context.json_values import encode_json, loads
from mc.context.late_dict import LateDict
from mc.flows.state.task_node import Task, with_proxied

__all__ = [
    "PARTS_ENTRY",
    "PARTS_IN_TEXT",
    "SetApart",
    "StoredParts",
    "has_unread",
    "may_set_apart",
    "parts_of",
    "put_together",
    "set_apart",
    "tasks_with_parts",
]

# Entry of a stored task dict: for each part, in which of the proxied tasks it belongs (0: the task itself),
# to which of its entries, its name there, and the digest of its text. In its own place stands null.
PARTS_ENTRY: Final = "parts_apart"
PARTS_IN_TEXT: Final = f'"{PARTS_ENTRY}":'
_SHORTEST: Final = 4_000  # characters of JSON text that are worth a row
_ENTRIES: Final = ("task_params", "raw_task_params")


class StoredParts(NamedTuple):
    """Where the parts of a flow's tasks are."""

    read: Callable[[str, str], str]  # returns the text of a part, by the key of its task and its digest
    later: bool  # when somebody asks for it


@dataclass(slots=True)
class SetApart:
    """The parts of one task."""

    texts: dict[str, str] = field(default_factory=dict)  # by digest, of those that may not be stored yet
    digests: set[str] = field(default_factory=set)  # of all


def may_set_apart(task: Task, text_size: int) -> bool:
    """Tell whether parts of a task may be kept apart.

    Args:
        task: the task.
        text_size: characters of its JSON text; 0: not known.
    """
    if "initialised" not in task or task["status"] not in ("RUNNING", "WAITING"):
        return False
    return not 0 < text_size < _SHORTEST and any("sub_flow" in holder for holder in with_proxied(task))


def has_unread(task: Task) -> bool:
    """Tell whether parameters of a task were read from parts."""
    return any(type(holder.get(name)) is LateDict for holder in with_proxied(task) for name in _ENTRIES)


def set_apart(task: Task, what: str, pointer: str, stored: Collection[str]) -> tuple[Task, SetApart]:
    """Return a copy of a task dict without its large parameters, and these.

    Args:
        task: the task.
        what: it is, for errors.
        pointer: JSON Pointer to it, for errors.
        stored: digests of the parts of this task that are stored.

    Raises:
        NotJsonError: JSON cannot hold a part.
    """
    found, places = SetApart(), []
    copied = holder = dict(task)
    depth = 0
    while True:
        for entry in _ENTRIES if "initialised" in holder else ():
            params = holder.get(entry)
            if isinstance(params, dict):
                left = {}
                for name in dict.keys(params):
                    digest = params.unread.get(name) if isinstance(params, LateDict) else None
                    if digest is None or digest not in stored:
                        digest = _digest_of(params[name], what, f"{pointer}/{entry}", found)
                    if digest is not None:
                        found.digests.add(digest)
                        places.append([depth, entry, name, digest])
                    left[name] = params[name] if digest is None else None
                holder[entry] = left
        if not isinstance(holder.get("proxied_task"), dict):
            break
        holder["proxied_task"] = holder = dict(holder["proxied_task"])
        depth += 1
    if places:
        copied[PARTS_ENTRY] = places
    return copied, found


def _digest_of(value: Any, what: str, pointer: str, found: SetApart) -> str | None:
    """Return the digest of a value's text if it is a part; its text is taken down."""
    if type(value) not in (dict, list, str):
        return None
    text = encode_json(value, what, pointer)
    if len(text) < _SHORTEST:
        return None
    digest = sha256(text.encode()).hexdigest()
    found.texts[digest] = text
    return digest


def parts_of(body: str) -> set[str]:
    """Return the digests of the parts of a stored task, by the JSON text of its row."""
    return {place[3] for place in loads(body).get(PARTS_ENTRY, ())}  # data may have an entry of that name


def put_together(task: Task, stored: StoredParts) -> None:
    """Put the parts of a task, as it was stored, where they belong."""
    places = task.pop(PARTS_ENTRY, ())
    if not places:
        return
    key, holders = task["key"], list(with_proxied(task))

    def read_value(digest: str) -> Any:
        return loads(stored.read(key, digest))

    unread: dict[tuple[int, str], dict[str, str]] = {}
    for depth, entry, name, digest in places:
        unread.setdefault((depth, entry), {})[name] = digest
    for (depth, entry), names in unread.items():
        params = LateDict(holders[depth][entry], names, read_value)
        holders[depth][entry] = params if stored.later else params.plain()


def tasks_with_parts(bodies: Iterable[str]) -> bool:
    """Tell whether any of the tasks that rows hold has parts."""
    return any(PARTS_IN_TEXT in body for body in bodies)
