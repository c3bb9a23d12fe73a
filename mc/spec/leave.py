"""Leave to run: which commands and addresses specs may name, as an application or a person said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from mc.context.paths import nearest_name
from mc.errors import McError, NotAllowedError

__all__ = ["NOTHING_ALLOWED", "Allowed", "AllowedNames", "Refusal"]

_NAMES: Final = ("shell", "http")
_HOST: Final = r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
_PORT: Final = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
# The patterns are compiled when they are first used: most ticks do without.
_PLACE: Final = rf"(?P<host>(?:\*\.)?{_HOST}){_PORT}"
# Stricter than URLs are, so that no two programs can read another host in the same text.
_URL: Final = rf"(?ai)(?P<scheme>https?)://(?P<host>{_HOST})\.?{_PORT}(?=[/?#]|\Z)"
_NEVER_IN_A_URL: Final = r"[\x00-\x20\x7f\\]"
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a task may not be run.

    Attributes:
        message: one sentence, or two, which end with how to allow it.
        param: the parameter that is at fault; None: its type.
        expected: what may stand there.
    """

    message: str
    param: str | None
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What specs may name of the world outside.

    Attributes:
        shell: whether tasks may run commands.
        http: whether tasks may ask any host.
        hosts: those that tasks may ask where they may not ask any: `api.example.org`, `*.example.org` for all
            below it, with `:8080` behind it for that port alone.
    """

    shell: bool = False
    http: bool = False
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: AllowedNames) -> Self:
        """Return what is allowed by names: `shell`, `http`, `http:HOST`, `http:*.example.org`.

        Args:
            names: a list of them, or text with commas between them, or what was made of them before.

        Raises:
            McError: there is no such name.
        """
        if isinstance(names, cls):
            return names
        texts = [names] if isinstance(names, str) else list(names)  # type: ignore[arg-type]
        found = [_read_name(name) for text in texts for name in _split(text) if name]
        return cls(
            shell="shell" in found,
            http="http" in found,
            hosts=frozenset(name.removeprefix("http:") for name in found if name.startswith("http:")),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names from which `of` makes the same."""
        plain = (name for name, given in (("shell", self.shell), ("http", self.http)) if given)
        return (*plain, *(f"http:{host}" for host in sorted(self.hosts)))

    def refuse(self, task_type: str, params: Mapping[str, Any] | None = None) -> Refusal | None:
        """Return why a task may not be run; None: it may, as far as can be told before it starts.

        Args:
            task_type: the name that the format uses today.
            params: the task's parameters; a `url` with references in it is not looked at.
        """
        if task_type == "shell" and not self.shell:
            return _refuse_type(task_type, "runs a command")
        if task_type != "http":
            return None
        if not self.http and not self.hosts:
            return _refuse_type(task_type, "sends a request")
        from mc.context.interpolation import has_references  # few tasks need it

        url = (params or {}).get("url")
        if not isinstance(url, str) or has_references(url):
            return None
        reason = self._refuse_url(url)
        expected = "a URL" if self.http else f"a URL of {self._shown_hosts()}"
        return None if reason is None else Refusal(message=reason, param="url", expected=expected)

    def check_shell(self) -> None:
        """Raise `NotAllowedError` unless tasks may run commands."""
        refusal = self.refuse("shell")
        if refusal is not None:
            raise NotAllowedError(refusal.message, name="shell")

    def check_url(self, url: str) -> None:
        """Raise `NotAllowedError` unless tasks may send requests to a URL.

        Where any host may be asked, the text is looked at too: it must be one that no two programs read in
        different ways. Whether the host's address may be asked is not known here; see `names_host`.
        """
        refusal = self.refuse("http")
        reason = refusal.message if refusal is not None else self._refuse_url(url)
        if reason is not None:
            raise NotAllowedError(reason, name="http")

    def names_host(self, url: str) -> bool:
        """Tell whether the host of a URL was allowed by its name, and not only because any is."""
        found = _read_url(url)
        return not isinstance(found, str) and self._names(*found)

    def _refuse_url(self, url: str) -> str | None:
        found = _read_url(url)
        if isinstance(found, str):
            return found
        if self.http or self._names(*found):
            return None
        host, port, is_default = found
        place = host if is_default else f"{host}:{port}"
        return (
            f"The host {place} may not be asked; allowed are {self._shown_hosts()}. If you trust the spec, "
            f"{_how_to_allow(f'http:{place}')}."
        )

    def _names(self, host: str, port: str, is_default: bool) -> bool:
        above = [host[at + 1 :] for at, char in enumerate(host) if char == "."]
        places = [host, *(f"*.{name}" for name in above)]
        return any(place in self.hosts or f"{place}:{port}" in self.hosts for place in places)

    def _shown_hosts(self) -> str:
        shown = sorted(self.hosts)
        return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


NOTHING_ALLOWED: Final = Allowed()

AllowedNames = str | Iterable[str] | Allowed


def _split(text: Any) -> list[str]:
    if not isinstance(text, str):
        raise McError(
            f"{text!r:.100} cannot be allowed; write text, such as 'shell' or 'http:api.example.org'."
        )
    return [name.strip() for name in text.split(",")]


def _read_name(name: str) -> str:
    """Return a name as it is compared."""
    kind, colon, place = name.partition(":")
    kind, place = kind.lower(), place.lower()
    if kind in _NAMES and not colon:
        return kind
    if kind == "http" and re.fullmatch(_PLACE, place):
        return f"http:{place}"
    raise McError(
        f"{name[:100]!r} cannot be allowed. Write shell for commands, http for requests to any host, "
        f"http:api.example.org for one host, http:*.example.org for all below it.{_hint_for(kind, place)}",
        found=name,
        suggestion=nearest_name(kind, _NAMES),
    )


def _hint_for(kind: str, place: str) -> str:
    url = re.match(_URL, place if place.startswith("http") else f"{kind}:{place}")
    if url is not None:
        return f" Did you mean http:{url['host'].lower()}?"
    if kind in _NAMES:
        return ""
    near = nearest_name(kind, _NAMES)
    return f" Did you mean {near!r}?" if near else ""


def _read_url(url: Any) -> tuple[str, str, bool] | str:
    """Return host, port, and whether that is the scheme's own; or a sentence that says what is wrong."""
    found = None
    if isinstance(url, str) and not re.search(_NEVER_IN_A_URL, url):
        found = re.match(_URL, url)
    if found is None:
        return (
            "The URL cannot be used. Write http:// or https:// and a host, in plain letters (xn--... for "
            "others), without name and password before it, and encode blanks as %20."
        )
    own = _DEFAULT_PORTS[found["scheme"].lower()]
    return found["host"].lower(), found["port"] or own, found["port"] in (None, own)


def _refuse_type(name: str, what: str) -> Refusal:
    return Refusal(
        message=f"The task {what}, which nobody allowed. If you trust the spec, {_how_to_allow(name)}.",
        param=None,
        expected="a task type that is allowed",
    )


def _how_to_allow(name: str) -> str:
    return (
        f"allow {name}: --allow {name} on the command line, MC_ALLOW={name} in the environment, "
        f'allow = ["{name}"] in mc.toml, allow="{name}" in Python'
    )
