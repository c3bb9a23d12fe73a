"""Slurm on this machine, as `.ci/slurm` sets it up."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

from tests.support.left_out import leave_out

__all__ = ["ask_slurm", "need_slurm"]


def need_slurm() -> None:
    """Skip the test unless Slurm answers; fail instead where CI=true."""
    problem = _find_problem()
    if problem:
        leave_out(f"no Slurm: {problem}; `.ci/slurm` installs and starts one")


def ask_slurm(*argv: str) -> str:
    """Return what a command of Slurm prints."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@cache
def _find_problem() -> str:
    if shutil.which("sbatch") is None:
        return "there is no sbatch"
    try:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        return "sinfo does not answer"
    if done.returncode:
        return done.stderr.strip()
    return "" if any(state in done.stdout for state in ("idle", "mix", "alloc")) else "its node is not up"
