"""Jobs that an engine such as Celery or Dask hands to this process by their keys."""

from __future__ import annotations

import logging
import os
import sys
import threading

from mc.errors import JobNotFoundError
from mc.houston import Houston
from mc.jobs.job_worker import JobWorker
from mc.settings.local_modules import find_local_modules
from mc.settings.values import SettingValues
from mc.store.databases.shown_url import mask_url

__all__ = ["run_sent_job"]

_logger = logging.getLogger(__name__)


class _OfThread(threading.local):
    """What a thread keeps from one job to the next; what is forked from its process begins anew."""

    pid: int | None = None
    houston: Houston
    worker: JobWorker


_own = _OfThread()


def run_sent_job(key: str) -> None:
    """Run the job with that key to its end, unless it has ended or another worker has it.

    The database, where the job is described and its end is told, is that of this process's own settings:
    `mc.toml` in the current folder or above, `MC_CONFIG`, `MC_DB_URL`. Modules of functions are found below
    the current folder too.

    Raises:
        McError: the settings are wrong, or the database cannot be used.
    """
    if _own.pid != os.getpid():
        find_local_modules(SettingValues.find().get("handlers"))
        then = [sys.executable, "-m", "mc", "job-ended"]  # so that a flow need not wait for the next tick
        _own.houston = Houston.from_settings(then=then)
        _own.worker = _own.houston.worker()
        _own.pid = os.getpid()
    try:
        if _own.worker.run_job(key) is None:
            _own.houston.jobs.get(key)  # it has ended, or another worker has it
    except JobNotFoundError:
        _logger.error(  # noqa: TRY400 - the sentence says it all
            "No job %r is in the database %s, so nothing was run. If it was not deleted meanwhile, the "
            "settings of this worker name another database than those of whoever sent it.",
            key,
            mask_url(_own.houston.db),
            extra={"action": "sent_job_not_found"},
        )
    except BaseException:
        _own.pid = None  # the next job gets another worker; what this one runs ends with it
        del _own.worker, _own.houston
        raise
