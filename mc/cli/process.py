"""The command as a process: what happens, turned into an exit code and a message where something is wrong."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import click

from mc.cli.exit_codes import ExitCode
from mc.errors import ControlError, FlowNotFoundError, ResourceError
from mc.interrupts import TurnThread

__all__ = ["end_process", "run_to_exit_code"]


def run_to_exit_code(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command with its arguments and return the exit code; no error leaves this function."""
    _prepare_streams()
    as_json = _asks_for(arguments, "--json")
    try:
        code = _invoke(command, list(arguments) or ["--help"])
        _flush_stdout()
        return code
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:
        _say("Interrupted.")
        return ExitCode.INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes an exit code
        return _report(error, as_json=as_json, debug=_asks_for(arguments, "--debug"))


def end_process(code: int) -> NoReturn:
    """End the process, and with it the calls in threads of a runner that an interruption did not wait for.

    Some may hold a lock, such as that of a standard stream, without which Python's own end would fail.
    """
    if any(isinstance(thread, TurnThread) for thread in threading.enumerate()):
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _invoke(command: click.Command, arguments: list[str]) -> int:
    try:
        with command.make_context("houston", arguments) as ctx:
            try:
                result = command.invoke(ctx)
            except (FlowNotFoundError, ControlError, ResourceError) as error:
                from mc.cli.nearest_keys import suggest_keys

                raise suggest_keys(ctx.obj, error) from error
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    return int(result or 0)


def _report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    from mc.cli.errors import describe_error

    failure = describe_error(error)
    if debug:
        import traceback

        from mc.printable import printable_lines
        from mc.store.databases.shown_url import mask_urls

        _say(printable_lines(mask_urls("".join(traceback.format_exception(error)).rstrip())))
    if as_json:
        import json

        _say(json.dumps(failure.document))
    else:
        _say(failure.text)
    return failure.exit_code


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()
        raise


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # nobody listens, or a task closed it; the exit code still tells


def _asks_for(arguments: Sequence[str], flag: str) -> bool:
    """Tell whether a flag stands among arguments that may not have been understood."""
    before_end = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return flag in before_end


def _prepare_streams() -> None:
    """Let text that an encoding cannot hold be written with escapes, and closed streams swallow theirs."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_stdout() -> None:
    """Keep the interpreter from complaining at its end about what cannot be written."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
