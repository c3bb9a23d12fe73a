"""Work of a job as `job.json` has it: checked, with its secrets read, made into a command."""

from __future__ import annotations

import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import VERSION, read_json
else:  # a script, and the files beside it
    from job_files import VERSION, read_json

__all__ = ["Command", "JobFileError", "SecretError", "SecretReader", "make_command", "read_job"]

_SECRET = re.compile(r"\$\{secret\.([^}]*)\}")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SECRET_PREFIX = "MC_SECRET_"  # noqa: S105 - of names
CALL_FUNCTION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "call_function.py")
REPLY_FD = 3  # on which `call_function.py` tells its progress and result


class JobFileError(Exception):
    """`job.json` cannot be read, or asks for what this script does not know."""


class SecretError(Exception):
    """A secret that is named is not here."""


class SecretReader:
    """Reads secrets from the environment, or from a folder with a file for each.

    Attributes:
        values: those that were read, by name.
    """

    def __init__(self, env: Mapping[str, str], folder: str | None) -> None:
        self.values: dict[str, str] = {}
        self._env = env
        self._folder = folder

    def fill_in(self, value: Any) -> Any:
        """Return a value with `${secret.NAME}` replaced in all its texts.

        Raises:
            SecretError: one is not here.
        """
        if isinstance(value, str):
            return _SECRET.sub(lambda match: self._read(match.group(1)), value) if "${s" in value else value
        if isinstance(value, list):
            return [self.fill_in(part) for part in value]
        if isinstance(value, dict):
            return {key: self.fill_in(part) for key, part in value.items()}
        return value

    def _read(self, name: str) -> str:
        if name not in self.values:
            self.values[name] = self._look_up(name)
        return self.values[name]

    def _look_up(self, name: str) -> str:
        if not _SECRET_NAME.fullmatch(name):
            raise SecretError(f"{name!r} is no name of a secret; use letters, digits, '_', '-' and '.'.")
        if _SECRET_PREFIX + name in self._env:
            return self._env[_SECRET_PREFIX + name]
        places = f"the environment variable {_SECRET_PREFIX}{name} of the process that starts the job"
        if self._folder is None:
            raise SecretError(
                f"The secret {name!r} is not here: set {places}, or name a folder of secrets in the settings."
            )
        path = os.path.join(self._folder, name)
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SecretError(
                f"The secret {name!r} is not here: set {places}, or write it to {path} ({why})."
            ) from error


class Command:
    """What is started for a job.

    Attributes:
        argv: program and arguments.
        env: its whole environment.
        cwd: its working folder; None: that of the script.
        stdin: what it reads there; None: nothing.
        call: the function that it calls, which `call_function.py` reads on stdin, and which this interpreter
            may call itself; None: it is a program. What is called tells its result on `REPLY_FD`.
        ok_exit_codes: those that are no failure.
        output_limit: bytes of each of stdout and stderr that the outcome holds.
        parses: whether the last line of stdout that is a JSON object is the result.
    """

    def __init__(self, argv: list[str], env: dict[str, str], cwd: str | None, stdin: bytes | None) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.stdin = stdin
        self.call: dict[str, Any] | None = None
        self.ok_exit_codes: list[int] = [0]
        self.output_limit = 65536
        self.parses = False

    @property
    def replies(self) -> bool:
        """Whether it tells its result on `REPLY_FD`."""
        return self.call is not None


def read_job(folder: str) -> dict[str, Any]:
    """Return what `job.json` holds.

    Raises:
        JobFileError: it is not there or not what was expected.
    """
    path = os.path.join(folder, "job.json")
    try:
        job = read_json(path)
    except OSError as error:
        raise JobFileError(f"{path} cannot be read: {error.strerror}; write the job again.") from error
    except ValueError as error:
        raise JobFileError(f"{path} is not JSON: {error}; write the job again.") from error
    if not isinstance(job, dict) or not isinstance(job.get("work"), dict):
        raise JobFileError(f"{path} holds no job: an object with `work` was expected; write the job again.")
    if job.get("version") != VERSION:
        raise JobFileError(
            f"{path} is of version {job.get('version')!r}, this script reads {VERSION}; let the same version "
            f"write the job and run it."
        )
    return job


def make_command(job: Mapping[str, Any], folder: str, secrets: SecretReader, mark: str) -> Command:
    """Return what is to be started for a job.

    Args:
        job: from `read_job`.
        folder: of the job.
        secrets: where secrets come from; keeps those that were read.
        mark: by which processes of the job are known, in their environment.

    Raises:
        JobFileError: the work is not what was expected.
        SecretError: a secret is not here.
    """
    work = job["work"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIX)}
    env.update(_read_env(work, secrets))
    env.update(
        {
            "MC_JOB_KEY": str(job.get("key", "")),
            "MC_FLOW_KEY": str(job.get("flow_key", "")),
            "MC_TASK": str(job.get("task", "")),
            "MC_ATTEMPT": str(job.get("attempt", "")),
            "MC_JOB_FOLDER": folder,
            "MC_JOB_PROCESS": mark,
        }
    )
    cwd = _take(work, "cwd", (str,), "a text")
    kind = work.get("type")
    if kind == "function":
        command = _make_call(work, env, cwd, secrets)
    elif kind == "shell":
        command = _make_shell_command(work, env, cwd)
    else:
        raise JobFileError(f"work.type is {kind!r}; expected 'shell' or 'function'.")
    limit = _take(work, "output_limit", (int,), "a number of bytes")
    command.output_limit = job.get("output_limit", 65536) if limit is None else limit
    return command


def _make_shell_command(work: Mapping[str, Any], env: dict[str, str], cwd: str | None) -> Command:
    argv, text = work.get("argv"), work.get("command")
    if (argv is None) == (text is None):
        raise JobFileError("work holds both `argv` and `command`, or neither; expected one of them.")
    if argv is None:
        argv = ["sh", "-c", text]
    if not isinstance(argv, list) or not argv or not all(isinstance(part, str) for part in argv):
        raise JobFileError("work.argv and work.command: expected a list of texts, or a text.")
    stdin = _take(work, "stdin", (str,), "a text")
    data = None if stdin is None else stdin.encode("utf-8", "surrogateescape")
    command = Command(argv, env, cwd, data)
    codes = _take(work, "ok_exit_codes", (list,), "a list of numbers")
    command.ok_exit_codes = [0] if codes is None else codes
    command.parses = work.get("parse") == "json"
    return command


def _make_call(
    work: Mapping[str, Any], env: dict[str, str], cwd: str | None, secrets: SecretReader
) -> Command:
    if not isinstance(work.get("function"), str):
        raise JobFileError("work.function: expected a text, `module:function`.")
    call = {name: work.get(name) for name in ("function", "args", "kwargs", "sys_path", "task_ctx")}
    if work.get("fills_headers"):
        kwargs = _take(work, "kwargs", (dict,), "an object") or {}
        call["kwargs"] = {**kwargs, "headers": secrets.fill_in(kwargs.get("headers"))}
    call["reply_fd"] = REPLY_FD
    command = Command([sys.executable, CALL_FUNCTION], env, cwd, json.dumps(call).encode())
    command.call = call
    return command


def _read_env(work: Mapping[str, Any], secrets: SecretReader) -> dict[str, str]:
    env = _take(work, "env", (dict,), "an object of texts") or {}
    return {name: str(secrets.fill_in(value)) for name, value in env.items()}


def _take(work: Mapping[str, Any], name: str, types: tuple[type, ...], expected: str) -> Any:
    value = work.get(name)
    if value is not None and not isinstance(value, types):
        raise JobFileError(f"work.{name} is {value!r:.100}; expected {expected}.")
    return value
