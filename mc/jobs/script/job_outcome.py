"""Outcome of a job: made of how its command ended, and written, whatever it takes."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING or __package__:
    from mc.jobs.script.job_files import VERSION, format_timestamp, note_trouble, write_json
    from mc.jobs.script.job_output import SecretMask
    from mc.jobs.script.job_supervisor import Supervisor
    from mc.jobs.script.job_work import Command
else:  # a script, and the files beside it
    from job_files import VERSION, format_timestamp, note_trouble, write_json

__all__ = ["describe_end", "describe_error", "describe_start_error", "make_outcome", "write_outcome"]

_SHOWN_LINES = 10  # of what it wrote, in the message of a failure
_SHOWN_CHARACTERS = 2_000


def make_outcome(job: dict[str, Any], began: float, end: dict[str, Any]) -> dict[str, Any]:
    """Return what `outcome.json` holds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    usage = {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 6),
        "max_rss_bytes": used.ru_maxrss * unit,
        **end.pop("usage", {}),
    }
    outcome = {
        "version": VERSION,
        "key": job.get("key"),
        **end,
        "started_at": format_timestamp(began),
        "finished_at": format_timestamp(time.time()),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "usage": usage,
    }
    return {name: value for name, value in outcome.items() if value is not None}


def describe_error(message: str, *names: str) -> dict[str, Any]:
    """Return a failure, which `cfg.retry` may call by any of the names."""
    return {"status": "FAILED", "error": {"type": names[0], "message": message, "types": list(names)}}


def describe_start_error(error: OSError | ValueError, command: Command) -> dict[str, Any]:
    """Return the failure of a command that could not be started."""
    names = [base.__name__ for base in type(error).__mro__[:-2]]
    program, cwd = command.argv[0], command.cwd
    if isinstance(error, ValueError):
        text = f"The command cannot be started: {error}; its texts may hold no null character."
    elif error.filename == cwd and cwd is not None:
        text = f"The folder {cwd!r} that the command is to run in cannot be entered: {error.strerror}. "
        text += "Create it, or name another one as `cwd`."
    elif isinstance(error, FileNotFoundError):
        path = command.env.get("PATH", os.defpath)
        text = (
            f"The command {program!r} was not found on {os.uname().nodename}. Install it there, or write its "
        )
        text += f"path; it was looked for in PATH={path}."
    elif isinstance(error, PermissionError):
        text = f"The command {program!r} may not be executed: {error.strerror}. Make the file executable "
        text += "(chmod +x), or run it by its interpreter."
    else:
        text = (
            f"The command {program!r} cannot be started: {error.strerror}. A script must begin with a line "
        )
        text += "'#!' that names its interpreter, and arguments together may not be too long."
    return describe_error(text, *names)


def describe_end(
    run: Supervisor, command: Command, mask: SecretMask, timeout_seconds: float | None, grace_seconds: float
) -> dict[str, Any]:
    """Return how a command ended."""
    end = _describe_verdict(run, command, mask, timeout_seconds, grace_seconds)
    status = run.status
    if status is not None:
        end["exit_code"] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        end["signal"] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    end["stdout"] = run.streams["stdout"].tail.read_text(command.output_limit)
    end["stderr"] = run.streams["stderr"].tail.read_text(command.output_limit)
    troubles = [stream.log.trouble for stream in run.streams.values() if stream.log.trouble]
    if troubles:
        end["usage"] = {"log_trouble": " ".join(troubles)}
        if "error" in end:
            end["error"]["message"] += f" ({' '.join(troubles)})"
    return end


def _describe_verdict(
    run: Supervisor, command: Command, mask: SecretMask, timeout_seconds: float | None, grace_seconds: float
) -> dict[str, Any]:
    if run.ended_by in ("stop", "signal"):
        return {"status": "CANCELLED"}
    if run.ended_by == "timeout":
        text = f"It ran for longer than its timeout of {timeout_seconds:g} seconds and was ended: TERM to it "
        text += (
            f"and all that it started, KILL after {grace_seconds:g} more. Give it more time, or less to do."
        )
        return describe_error(text, "TimeoutError")
    if run.status is None:
        return describe_error("The end of the command could not be seen.", "JobError")
    if command.replies and run.reply is not None and "error" in run.reply:
        return {"status": "FAILED", "error": mask.mask_json(run.reply["error"])}
    failure = _describe_exit(run, command)
    if failure is not None:
        return failure
    if command.replies:
        if run.reply is None:
            text = "The function's process ended with exit code 0 before the function returned."
            return describe_error(text, "ExitCode0", "ExitCodeError")
        return {"status": "COMPLETED", "result": mask.mask_json(run.reply.get("result"))}
    if not command.parses:
        return {"status": "COMPLETED"}
    found = _find_object(run.streams["stdout"].tail.end()[1])
    if found is None:
        text = (
            'Its stdout holds no line that is a JSON object, which `"parse": "json"` asks for. Let it print '
        )
        text += f"one, as its last line; it ended with:\n{_last_lines(run, 'stdout')}"
        return describe_error(text, "OutputError")
    return {"status": "COMPLETED", "result": mask.mask_json(found)}


def _describe_exit(run: Supervisor, command: Command) -> dict[str, Any] | None:
    """Return why a command failed; None if it did not."""
    status = run.status
    assert status is not None
    what = "The function's process" if command.replies else "The command"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        text = f"{what} was killed by signal {number} ({_name_signal(number)})."
        if number == signal.SIGKILL:
            text += " Nobody asked this job to stop; the host may have run out of memory."
        return describe_error(f"{text}{_show_output(run)}", f"KilledBySignal{number}", "KilledBySignalError")
    code = os.WEXITSTATUS(status)
    if code in command.ok_exit_codes:
        return None
    text = f"{what} ended with exit code {code}"
    if code > 128 and code - 128 in set(signal.Signals):
        text += f", which mostly tells of signal {code - 128} ({_name_signal(code - 128)})"
    text += ", before the function returned." if command.replies and run.reply is None else "."
    return describe_error(f"{text}{_show_output(run)}", f"ExitCode{code}", "ExitCodeError")


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "of no name"


def _show_output(run: Supervisor) -> str:
    """Return the end of stderr, or else of stdout, where many commands tell what is wrong."""
    for name in ("stderr", "stdout"):
        lines = _last_lines(run, name)
        if lines:
            return f" The end of its {name}:\n{lines}"
    return " It wrote nothing to stderr or stdout."


def _last_lines(run: Supervisor, name: str) -> str:
    text = run.streams[name].tail.end(4 * _SHOWN_CHARACTERS)[1].decode("utf-8", "backslashreplace")
    return "\n".join(text.rstrip().splitlines()[-_SHOWN_LINES:])[-_SHOWN_CHARACTERS:]


def _find_object(stdout: bytes) -> dict[str, Any] | None:
    """Return the last line that is a JSON object."""
    for line in reversed(stdout.split(b"\n")):
        text = line.strip()
        if text.startswith(b"{") and text.endswith(b"}"):
            try:
                value = json.loads(text, parse_constant=_refuse, parse_float=_read_float)
            except (ValueError, RecursionError):
                continue  # it only looks like one
            if isinstance(value, dict):
                return value
    return None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _read_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text:.40} is too large a number")
    return number


def write_outcome(folder: str, outcome: dict[str, Any], seconds: float) -> bool:
    """Write `outcome.json`, trying again for some time; False if it cannot be done."""
    path = os.path.join(folder, "outcome.json")
    give_up_at = time.monotonic() + seconds
    pause = 0.05
    while True:
        try:
            write_json(path, outcome)
        except OSError as error:
            note_trouble(f"outcome.json could not be written: {error.strerror}; status {outcome['status']}")
            if time.monotonic() + pause >= give_up_at:
                return False
            # A full disk may have room for what matters.
            outcome = {name: value for name, value in outcome.items() if name not in ("stdout", "stderr")}
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            return True
