"""Batch scripts for Slurm."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

__all__ = ["make_batch_script"]


def make_batch_script(
    folders: Sequence[Path], script: Path, pythons: Sequence[str], seconds: float | None
) -> str:
    """Return the batch script that runs the job in one of some folders, by its index in the array.

    The script that runs the job takes the place of the shell, so that it gets the signals. A node without
    an interpreter is told by the job's outcome, because nothing else would tell.

    Args:
        folders: of the jobs.
        script: that runs them.
        pythons: interpreters, of which the first is taken that the node has.
        seconds: in which the job has to end; None: no limit.
    """
    cases = "\n".join(
        f"{index}) folder={shlex.quote(str(folder))} ;;" for index, folder in enumerate(folders)
    )
    limit = "" if seconds is None else f" --timeout-seconds {seconds:g}"
    names = " or ".join(pythons)
    message = f"There is no {names} on the node HOST. Set `python` of the executor in mc.toml to one that is."
    error = {"type": "ExecutorError", "types": ["ExecutorError", "McError"], "message": message}
    outcome = json.dumps({"version": 1, "status": "FAILED", "error": error})
    return f"""#!/bin/sh
case "${{SLURM_ARRAY_TASK_ID:-0}}" in
{cases}
esac
exec </dev/null >>"$folder/script.log" 2>&1
for python in {shlex.join(pythons)}; do
    if command -v "$python" >/dev/null; then
        exec "$python" -E -s -S {shlex.quote(str(script))}{limit} "$folder"
    fi
done
printf '%s' {shlex.quote(outcome)} | sed "s/ HOST\\\\./ $(uname -n)./" >"$folder/outcome.json.new"
mv "$folder/outcome.json.new" "$folder/outcome.json"
exit 127
"""
