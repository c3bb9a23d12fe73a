"""What the options that all subcommands share were set to."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mc.houston import Houston

__all__ = ["DEFAULT_DB_URL", "Settings"]

DEFAULT_DB_URL: Final = "sqlite:///mc.sqlite3"


@dataclass(slots=True, kw_only=True)
class Settings:
    """The common options, as given on the command line; the environment fills in what was not given.

    Attributes:
        db: URL of the database, if given.
        as_json: whether stdout gets one JSON document instead of text for people.
        handlers: modules of task types, if given.
        debug: whether errors show their traceback and logs everything.
    """

    db: str | None = None
    as_json: bool = False
    handlers: list[str] = field(default_factory=list)
    debug: bool = False

    @property
    def db_url(self) -> str:
        """The database to use."""
        return self.db or os.environ.get("MC_DB_URL") or DEFAULT_DB_URL

    @property
    def handler_modules(self) -> tuple[str, ...]:
        """The modules whose task types specs may use."""
        given = self.handlers or [os.environ.get("MC_HANDLER_MODULES", "")]
        names = (name.strip() for text in given for name in text.split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    def open_houston(self, *, with_handlers: bool = False, **options: Any) -> Houston:
        """Return the facade on the chosen database.

        Args:
            with_handlers: import the handler modules now, so that one which is missing or broken
                is an error before anything is stored. Local modules are found.
            **options: passed on to `Houston`.

        Raises:
            UnknownTaskTypeError: a handler module cannot be imported.
        """
        from mc.houston import Houston

        if with_handlers:
            from mc.cli.log_output import log_to_stderr

            log_to_stderr(debug=self.debug)
            self.import_handlers()
            options["handler_modules"] = self.handler_modules
        return Houston(self.db_url, **options)

    def import_handlers(self) -> None:
        """Import the handler modules; those below the current folder are found too.

        Raises:
            UnknownTaskTypeError: one cannot be imported.
        """
        if not self.handler_modules:
            return
        from mc.flows.handler_registry import import_module

        folder = str(Path.cwd())
        if folder not in sys.path and "" not in sys.path:
            sys.path.insert(0, folder)
        for name in self.handler_modules:
            import_module(name, f"--handlers {name}")
