"""Folders in which a job finds the module of its function."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from mc.flows.jobs.job import Job

__all__ = ["with_own_path"]


def with_own_path(job: Job) -> Job:
    """Return a job that looks for modules where this process does, as one on the same host can."""
    if job.work.get("type") != "function" or "sys_path" in job.work:
        return job
    folders = [each or str(Path.cwd()) for each in sys.path]
    return replace(job, work={**job.work, "sys_path": folders})
