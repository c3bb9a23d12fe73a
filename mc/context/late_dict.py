"""A mapping whose large values are read when somebody asks for them."""

from __future__ import annotations

import copy
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Final

__all__ = ["LateDict", "read_part", "without_late"]


class _Unread:
    """Stands for a value that was not read; only C code that looks past the methods ever finds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<not read>"


_UNREAD: Final = _Unread()


class LateDict(dict[str, Any]):
    """A mapping like any other, some of whose values are read when somebody asks for them.

    Keys are known at once, and so is the value of each other one.

    Args:
        values: all keys, in order; what stands at those in `unread` does not count.
        unread: by key, what `read` is asked for.
        read: returns a value.

    Attributes:
        unread: what was not read yet.
        origins: all that was to be read, as it was at first.
    """

    __slots__ = ("_read", "origins", "unread")

    def __init__(
        self, values: Mapping[str, Any], unread: Mapping[str, str], read: Callable[[str], Any]
    ) -> None:
        super().__init__(values)
        for name in unread:
            super().__setitem__(name, _UNREAD)
        self.unread = dict(unread)
        self.origins = dict(unread)
        self._read = read

    def over(self, values: Mapping[str, Any]) -> LateDict:
        """Return these values with its own laid over them, of which none is read by this."""
        found = LateDict({**values, **dict(dict.items(self))}, self.unread, self._read)
        found.origins = dict(self.origins)
        return found

    def read_all(self) -> None:
        """Read what was not read yet."""
        for name in list(self.unread):
            self[name]

    def plain(self) -> dict[str, Any]:
        """Return a plain dict of the same values."""
        self.read_all()
        return dict(super().items())

    def __getitem__(self, name: str) -> Any:
        if name in self.unread:
            value = self._read(self.unread[name])
            super().__setitem__(name, value)
            self.unread.pop(name, None)
        return super().__getitem__(name)

    def get(self, name: Any, default: Any = None) -> Any:
        """Return a value, or the default where there is none."""
        return self[name] if name in self else default  # noqa: SIM401 - this is how `get` is made

    def __setitem__(self, name: str, value: Any) -> None:
        self.unread.pop(name, None)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self.unread.pop(name, None)

    def __iter__(self) -> Iterator[str]:  # defined, so that `dict(...)` and `{**...}` ask for each value
        return super().__iter__()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]  # dict names its own
        """Return all values."""
        self.read_all()
        return super().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]  # dict names its own
        """Return all keys and values."""
        self.read_all()
        return super().items()

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a key and return its value."""
        if name in self.unread:
            self[name]
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value."""
        self.read_all()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return a value; the default, which is put there, where there is none."""
        return self[name] if name in self else super().setdefault(name, default)

    def update(self, *others: Any, **values: Any) -> None:
        """Put other values in."""
        for name, value in dict(*others, **values).items():
            self[name] = value

    def clear(self) -> None:
        """Remove all keys."""
        self.unread.clear()
        super().clear()

    def copy(self) -> dict[str, Any]:
        """Return a plain dict of the same values."""
        return self.plain()

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(self.plain(), memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.plain(),)

    def __eq__(self, other: object) -> bool:
        self.read_all()
        if isinstance(other, LateDict):
            other.read_all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:  # a dict has one of its own
        return not self == other

    __hash__ = None  # as any dict

    def __or__(self, other: Any) -> Any:
        return self.plain() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.plain()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __repr__(self) -> str:
        self.read_all()
        return super().__repr__()


def read_part(value: LateDict) -> dict[str, Any]:
    """Return a plain dict of what needs no reading any more."""
    return {name: part for name, part in dict.items(value) if name not in value.unread}


def without_late(value: Any) -> Any:
    """Return a value without the mappings in it that are read late, whose values were checked before."""
    if type(value) is not dict:
        return value
    return {name: without_late(part) for name, part in value.items() if type(part) is not LateDict}
