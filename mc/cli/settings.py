"""Settings: what the options that all subcommands share were set to, and what is said elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mc.errors import UnknownTaskTypeError

if TYPE_CHECKING:
    from mc.flows.handlers.handler_registry import HandlerRegistry
    from mc.houston import Houston
    from mc.settings.values import SettingValues
    from mc.spec.leave import Allowed

__all__ = ["Settings"]

_logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Settings:
    """The common options, as given on the command line.

    What was not given there is taken from the environment, then from the settings file.

    Attributes:
        db: URL of the database, if given.
        as_json: whether stdout gets one JSON document instead of text for people.
        handlers: modules of task types, if given.
        allow: what specs may name of commands and addresses, if given.
        debug: whether errors show their traceback and logs everything.
        has_broken_handlers: whether a handler module could not be imported, and the command goes on.
    """

    db: str | None = None
    as_json: bool = False
    handlers: list[str] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    debug: bool = False
    has_broken_handlers: bool = field(default=False, init=False)

    @cached_property
    def values(self) -> SettingValues:
        """What the settings file and the environment say.

        Raises:
            SettingsError: the file is wrong.
        """
        from mc.settings.values import SettingValues

        return SettingValues.find()

    @property
    def db_url(self) -> str:
        """The database to use.

        Raises:
            SettingsError: it is not written as a URL.
        """
        url: str = self.values.get("db", self.db).value
        return url

    @property
    def busy_seconds(self) -> float:
        """For how long to wait where others hold the database's lock.

        Raises:
            SettingsError: the environment names no such time.
        """
        seconds: float = self.values.get("busy_seconds").value
        return seconds

    @property
    def file_mode(self) -> int | None:
        """The permissions of an SQLite file that is made; None: as the umask has it.

        Raises:
            SettingsError: the environment names none.
        """
        mode: int | None = self.values.get("file_mode").value
        return mode

    @property
    def handler_modules(self) -> tuple[str, ...]:
        """The modules whose task types specs may use."""
        modules: tuple[str, ...] = self.values.get("handlers", self.handlers).value
        return modules

    @property
    def allowed(self) -> Allowed:
        """The commands and addresses that specs may name.

        Raises:
            SettingsError: there is no such name.
        """
        allowed: Allowed = self.values.get("allow", self.allow).value
        return allowed

    def make_registry(self) -> HandlerRegistry:
        """Return what tells which task types, functions, commands and addresses specs may name.

        Raises:
            UnknownTaskTypeError: a handler module cannot be imported.
        """
        from mc.flows.handlers.handler_registry import HandlerRegistry

        self.import_handlers()
        return HandlerRegistry(handler_modules=self.handler_modules, allow=self.allowed)

    def open_houston(
        self,
        *,
        with_handlers: bool = False,
        bears_broken: bool = False,
        only_reads: bool = False,
        **options: Any,
    ) -> Houston:
        """Return the facade on the chosen database.

        Args:
            with_handlers: import the handler modules now, so that one which is missing or broken
                is an error before anything is stored. Local modules are found.
            bears_broken: go on without such a module, which is logged: flows that need it wait for a runner
                that has it, and the others need not.
            only_reads: the command is about what is stored already, so a database that is not there is not
                made either.
            **options: passed on to `Houston`.

        Raises:
            UnknownTaskTypeError: a handler module cannot be imported, and `bears_broken` is not set.
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
            self.import_handlers(bears_broken=bears_broken)
            options["handler_modules"] = self.handler_modules
            options["then"] = self._then()
            options["allow"] = self.allowed
        options.setdefault("limits", self.values.limits())
        options |= self.values.job_options()
        return Houston(self.db_url, busy_seconds=self.busy_seconds, file_mode=self.file_mode, **options)

    def _then(self) -> list[str]:
        """Return the command that advances the flow of a job at its end, as this one would."""
        then = [sys.executable, "-m", "mc", "job-ended"]
        if self.db is not None and "@" in self.db:
            os.environ["MC_DB_URL"] = self.db  # a password stands in no file, and not in lists of processes
        elif self.db is not None:
            then += ["--db", self.db]
        for name, values in (("--handlers", self.handlers), ("--allow", self.allow)):
            then += [word for value in values for word in (name, value)]
        return then

    def import_handlers(self, *, bears_broken: bool = False) -> None:
        """Import the handler modules; those below the current folder are found too.

        So are those below the settings file's folder, where it names them.

        Args:
            bears_broken: log those that cannot be imported, and note that there are some.

        Raises:
            UnknownTaskTypeError: one cannot be imported.
        """
        if not self.handler_modules:
            return
        from mc.flows.handlers.callables import import_module
        from mc.settings.local_modules import find_local_modules

        named = self.values.get("handlers", self.handlers)
        find_local_modules(named)
        asked_by = "--handlers" if named.origin == "option" else f"{named.place}: handlers"
        for name in self.handler_modules:
            try:
                import_module(name, f"{asked_by} {name}")
            except UnknownTaskTypeError as error:
                if not bears_broken:
                    raise
                self.has_broken_handlers = True
                _logger.warning(
                    "%s Fix it; flows that need it wait for that, the others go on.", error.message
                )
