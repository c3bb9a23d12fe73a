"""Settings: what the options that all subcommands share were set to."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mc.errors import McError
from mc.store.databases.kinds import DEFAULT_URL

if TYPE_CHECKING:
    from mc.context.sizes import Limits
    from mc.flows.handlers.handler_registry import HandlerRegistry
    from mc.houston import Houston
    from mc.spec.leave import Allowed

__all__ = ["Settings"]

_FILE_MODE: Final = re.compile(r"0?[67][0-7][0-7]")
_LONGEST_WAIT: Final = 3_600  # seconds
_URL_START: Final = re.compile(r"[A-Za-z][\w+.-]*://")


@dataclass(slots=True, kw_only=True)
class Settings:
    """The common options, as given on the command line; the environment fills in what was not given.

    Attributes:
        db: URL of the database, if given.
        as_json: whether stdout gets one JSON document instead of text for people.
        handlers: modules of task types, if given.
        allow: what specs may name of commands and addresses, if given.
        debug: whether errors show their traceback and logs everything.
    """

    db: str | None = None
    as_json: bool = False
    handlers: list[str] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    debug: bool = False

    @property
    def db_url(self) -> str:
        """The database to use.

        Raises:
            click.UsageError: it is not written as a URL.
        """
        url = self.db if self.db is not None else os.environ.get("MC_DB_URL") or DEFAULT_URL
        if not _URL_START.match(url):
            from mc.store.databases.shown_url import mask_url

            by = "MC_DB_URL" if self.db is None else "--db"
            raise click.UsageError(
                f"{mask_url(url)[:100]!r}, given by {by}, is not a database URL. Write "
                f"one such as {DEFAULT_URL}, or sqlite:////absolute/path for a file elsewhere."
            )
        return url

    @property
    def busy_seconds(self) -> float:
        """For how long to wait where others hold the database's lock.

        Raises:
            click.UsageError: the environment names no such time.
        """
        text = os.environ.get("MC_BUSY_SECONDS", "30")
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= _LONGEST_WAIT:
            raise click.UsageError(
                f"MC_BUSY_SECONDS is {text[:100]!r}; it must be a number of seconds above 0 and at most "
                f"{_LONGEST_WAIT}."
            )
        return seconds

    @property
    def file_mode(self) -> int | None:
        """The permissions of an SQLite file that is made; None: as the umask has it.

        Raises:
            click.UsageError: the environment names none.
        """
        text = os.environ.get("MC_FILE_MODE", "600")
        if text == "umask":
            return None
        if not _FILE_MODE.fullmatch(text):
            raise click.UsageError(
                f"MC_FILE_MODE is {text[:100]!r}; it must be the permissions of new SQLite files in octal "
                f"digits, which let their owner read and write, such as 600 or 660, or umask."
            )
        return int(text, 8)

    @property
    def limits(self) -> Limits:
        """How large values may become.

        Raises:
            click.UsageError: the environment names no such size.
        """
        from mc.context.sizes import Limits

        given = {}
        for name in ("value_bytes", "task_bytes", "flow_bytes"):
            text = os.environ.get(f"MC_MAX_{name.upper()}")
            if text is None:
                continue
            if not text.isascii() or not text.isdigit() or not 0 < len(text) <= 15 or not int(text):
                raise click.UsageError(
                    f"MC_MAX_{name.upper()} is {text[:100]!r}; it must be a number of bytes above 0."
                )
            given[name] = int(text)
        return Limits(**given)

    @property
    def handler_modules(self) -> tuple[str, ...]:
        """The modules whose task types specs may use."""
        given = self.handlers or [os.environ.get("MC_HANDLER_MODULES", "")]
        names = (name.strip() for text in given for name in text.split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def allowed(self) -> Allowed:
        """The commands and addresses that specs may name.

        Raises:
            click.UsageError: there is no such name.
        """
        from mc.spec.leave import Allowed

        try:
            return Allowed.of(self.allow or os.environ.get("MC_ALLOW", ""))
        except McError as error:
            raise click.UsageError(f"{'--allow' if self.allow else 'MC_ALLOW'}: {error.message}") from error

    def make_registry(self) -> HandlerRegistry:
        """Return what tells which task types, functions, commands and addresses specs may name.

        Raises:
            UnknownTaskTypeError: a handler module cannot be imported.
        """
        from mc.flows.handlers.handler_registry import HandlerRegistry

        self.import_handlers()
        return HandlerRegistry(handler_modules=self.handler_modules, allow=self.allowed)

    def open_houston(
        self, *, with_handlers: bool = False, only_reads: bool = False, **options: Any
    ) -> Houston:
        """Return the facade on the chosen database.

        Args:
            with_handlers: import the handler modules now, so that one which is missing or broken
                is an error before anything is stored. Local modules are found.
            only_reads: the command is about what is stored already, so a database that is not there is not
                made either.
            **options: passed on to `Houston`.

        Raises:
            UnknownTaskTypeError: a handler module cannot be imported.
            StoreUnreachableError: `only_reads`, and there is no such database.
        """
        from mc.houston import Houston

        if only_reads:
            from mc.clock import SystemClock
            from mc.store.upkeep.health import open_existing

            open_existing(self.db_url, SystemClock(), self.busy_seconds).close()
        if with_handlers:
            from mc.cli.printing.log_output import log_to_stderr

            log_to_stderr(debug=self.debug)
            self.import_handlers()
            options["handler_modules"] = self.handler_modules
            options["allow"] = self.allowed
        options.setdefault("limits", self.limits)
        return Houston(self.db_url, busy_seconds=self.busy_seconds, file_mode=self.file_mode, **options)

    def import_handlers(self) -> None:
        """Import the handler modules; those below the current folder are found too.

        Raises:
            UnknownTaskTypeError: one cannot be imported.
        """
        if not self.handler_modules:
            return
        from mc.flows.handlers.callables import import_module

        folder = str(Path.cwd())
        if folder not in sys.path and "" not in sys.path:
            sys.path.insert(0, folder)
        for name in self.handler_modules:
            import_module(name, f"--handlers {name}")
