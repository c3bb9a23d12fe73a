"""The work of the jobs that `job_soak` starts; it notes in files of the folder MC_SOAK what it does.

A run holds locks on two files, one named by its job and one by its task: it adds a line to `overlaps-of-job`
or `overlaps-of-task` if another run has that lock. It adds a line to `begun` and, if nobody killed it, to
`ended`.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

__all__ = ["COMMAND", "work"]

# What `work` does, by a command, which also leaves a child that would live on.
COMMAND = """
cd "$MC_SOAK"
exec 8>"locks/job_$(echo "$MC_JOB_KEY" | tr / _)" 9>"locks/task_$(echo "$MC_FLOW_KEY/$MC_TASK" | tr / _)"
flock -n 8 || echo "$MC_JOB_KEY" >> overlaps-of-job
flock -n 9 || echo "$MC_JOB_KEY" >> overlaps-of-task
echo "$MC_JOB_KEY $$ $(cut -d' ' -f22 /proc/$$/stat)" >> begun
sleep 1000 8>&- 9>&- &
sleep 0.2
echo "$MC_JOB_KEY" >> ended
echo "{\\"task\\": \\"$MC_FLOW_KEY/$MC_TASK\\"}"
"""


def work() -> dict[str, Any]:
    """Take part, and return which task it was."""
    folder = Path(os.environ["MC_SOAK"])
    key = os.environ["MC_JOB_KEY"]
    task = f"{os.environ['MC_FLOW_KEY']}/{os.environ['MC_TASK']}"
    for kind, name in (("job", key), ("task", task)):
        lock = os.open(folder / "locks" / f"{kind}_{name.replace('/', '_')}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _add(folder / f"overlaps-of-{kind}", key)
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    _add(folder / "begun", f"{key} {os.getpid()} {started}")
    time.sleep(0.2)
    _add(folder / "ended", key)
    return {"task": task}


def _add(path: Path, line: str) -> None:
    """Add a line at once, as others do at the same time."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)
