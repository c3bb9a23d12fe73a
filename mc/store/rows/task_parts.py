"""Large parts of tasks, which are kept apart from the tasks' rows, and read when they are needed.

A task that has a flow inside of it is written each time that it waits for another item. Its parameters stay
as they are meanwhile, and may be a hundred thousand items: they are rows of their own. A large result of a
job is kept in a file, and the task's row refers to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from mc.context.json_values import encode_json, loads
from mc.context.late_dict import LateDict
from mc.errors import StoreError
from mc.flows.jobs.result_reference import ResultReference
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
    "refer_to_results",
    "refuse_results",
    "set_apart",
    "tasks_with_parts",
]

# Entry of a stored task dict: for each part, in which of the proxied tasks it belongs (0: the task itself),
# to which of its entries, its name there, and the digest of its text, or for one of `data` a reference to
# the result of a job. In its own place stands null.
PARTS_ENTRY: Final = "parts_apart"
PARTS_IN_TEXT: Final = f'"{PARTS_ENTRY}":'
_SHORTEST: Final = 4_000  # characters of JSON text that are worth a row
_ENTRIES: Final = ("task_params", "raw_task_params")
_DATA: Final = "data"


def refuse_results(reference: str) -> Any:
    """Raise `StoreError`: nobody said where the files are."""
    job_key = ResultReference.parse(reference).job_key
    raise StoreError(
        f"The result of job {job_key!r} is large and in a file, and this store was not told where these are. "
        f"Open it by `Houston(...)`, or set `read_result` of the `FlowStore`."
    )


class StoredParts(NamedTuple):
    """Where the parts of a flow's tasks are."""

    read: Callable[[str, str], str]  # returns the text of a part, by the key of its task and its digest
    later: bool  # when somebody asks for it
    read_result: Callable[[str], Any] = refuse_results  # when somebody asks for it, by a reference

    def with_results(self, read_result: Callable[[str], Any]) -> StoredParts:
        """Return the same, with results read in this way."""
        return self._replace(read_result=read_result)


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


def refer_to_results(task: Task, what: str) -> tuple[Task, list[list[Any]]]:
    """Return a task dict with null for results that stayed in the folders of jobs, and their places.

    Args:
        task: the task; copied where that is needed.
        what: it is, for errors.

    Raises:
        NotJsonError: JSON cannot hold what was made of a result.
    """
    if not any(type(holder.get(_DATA)) is LateDict for holder in with_proxied(task)):
        return task, []
    places: list[list[Any]] = []
    copied = holder = dict(task)
    depth = 0
    while True:
        data = holder.get(_DATA)
        if isinstance(data, LateDict):
            names = [name for name in data.origins if _is_as_it_was(data, name, what)]
            places += [[depth, _DATA, name, data.origins[name]] for name in names]
            holder[_DATA] = {name: None if name in names else data[name] for name in dict.keys(data)}
        if not isinstance(holder.get("proxied_task"), dict):
            return copied, places
        holder["proxied_task"] = holder = dict(holder["proxied_task"])
        depth += 1


def _is_as_it_was(data: LateDict, name: str, what: str) -> bool:
    """Tell whether a task's data still hold a result, whatever was done to it since it was read."""
    if name in data.unread or name not in data:
        return name in data
    text = encode_json(data[name], what, f"/{_DATA}/{name}")
    return sha256(text.encode()).hexdigest() == ResultReference.parse(data.origins[name]).sha256


def parts_of(body: str) -> set[str]:
    """Return the digests of the parts of a stored task that are rows, by the JSON text of its own row."""
    places = loads(body).get(PARTS_ENTRY, ())  # data may have an entry of that name
    return {place[3] for place in places if place[1] != _DATA}


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
        if entry == _DATA:
            holders[depth][entry] = LateDict(holders[depth][entry], names, stored.read_result)
            continue
        params = LateDict(holders[depth][entry], names, read_value)
        holders[depth][entry] = params if stored.later else params.plain()


def tasks_with_parts(bodies: Iterable[str]) -> bool:
    """Tell whether any of the tasks that rows hold has parts."""
    return any(PARTS_IN_TEXT in body for body in bodies)
