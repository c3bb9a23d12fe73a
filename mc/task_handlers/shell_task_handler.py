r"""The task type `shell`: runs a command as a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from mc.context.json_values import dumps
from mc.context.paths import read_copy
from mc.flows.calls.missing_handlers import put_off_unless_leave
from mc.flows.jobs.job import Outcome
from mc.task_handlers.bases.base_job_task_handler import BaseJobTaskHandler

__all__ = ["ShellTaskHandler", "TaskHandler"]

_REFERENCE: Final = re.compile(r"\$\{(ctx\.[^}]*|secret\.\w+)\}")
_OPTIONS: Final = {"cwd": str, "stdin": str, "ok_exit_codes": list, "output_limit": int, "parse": str}


class ShellTaskHandler(BaseJobTaskHandler):
    """Runs `argv`, or `command` by `sh -c`; leaves `exit_code`, `stdout`, `stderr` and, parsed, `result`.

    In `command` only `${ctx...}` and `${secret...}` are references. Their values never become part of the
    text: they are variables of its environment, `${MC_1}` and so on in their place.
    """

    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"command", "env"})

    def make_work(self) -> Mapping[str, Any]:
        """Return the command."""
        put_off_unless_leave("shell", self.task_ctx)
        argv, command = self.read_param("argv", list, None), self.read_param("command", str, None)
        if (argv is None) == (command is None):
            found = "neither" if argv is None else "both"
            raise self.spec_error(f"task_params needs either argv or command; found {found}")
        work: dict[str, Any] = {"type": "shell"}
        env = self.read_texts("env")
        if argv is not None:
            if not argv or any(isinstance(part, dict | list) for part in argv):
                raise self.spec_error("task_params.argv must be a list of texts and numbers, not empty")
            work["argv"] = [_text(part) for part in argv]
        else:
            work["command"], values = self._take_out_references(str(command))
            env |= values
        if env:
            work["env"] = env
        for name, kind in _OPTIONS.items():
            value = self.read_param(name, kind, None)
            if value is not None:
                work[name] = value
        return work

    def read_outcome(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return the exit code and what the command wrote."""
        left = {
            "exit_code": outcome.exit_code,
            "stdout": outcome.stdout or "",
            "stderr": outcome.stderr or "",
        }
        return {**left, "result": outcome.result} if self.params.get("parse") else left

    def _take_out_references(self, command: str) -> tuple[str, dict[str, str]]:
        """Return the command with variables in the place of its references, and the variables."""
        values: dict[str, str] = {}
        names: dict[str, str] = {}
        ctx = self.task_ctx.path_ctx()

        def replace(match: re.Match[str]) -> str:
            text = match.group(1)
            name = names.setdefault(text, f"MC_{len(names) + 1}")
            if name not in values:
                is_secret = text.startswith("secret.")
                values[name] = match.group() if is_secret else self._read(ctx, text)
            return f"${{{name}}}"

        return _REFERENCE.sub(replace, command), values

    def _read(self, ctx: Mapping[str, Any], path: str) -> str:
        return self.refuse_secrets(read_copy(ctx, path), f"command: ${{{path}}}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


TaskHandler = ShellTaskHandler
