"""The application of Celery for workers that run jobs: `celery -A mc.celery_app worker`."""

from __future__ import annotations

from typing import Any, Final, cast

from celery import Celery

from mc.errors import ExecutorError
from mc.jobs.executors.celery import RUN_JOB, CeleryExecutor, make_app
from mc.jobs.find_executor import make_executor, names_of_kind
from mc.sent_jobs import run_sent_job
from mc.settings.values import SettingValues

__all__ = ["app"]


def _make_app() -> Celery:
    """Return the application for the executors of the kind `celery` that the settings name.

    Raises:
        McError: the settings are wrong, or name more than one broker.
    """
    settings = SettingValues.find().get("executors").value
    names = names_of_kind("celery", settings)
    found = [cast("CeleryExecutor", make_executor(name, settings)) for name in names]
    brokers = {each.broker for each in found}
    if len(brokers) > 1:
        raise ExecutorError(
            f"The executors {', '.join(names)} have different brokers; set the environment variable "
            f"CELERY_BROKER_URL to that of this worker, and choose its queues by -Q."
        )
    return make_app(brokers.pop(), [*dict.fromkeys(each.queue for each in found)])


app: Final[Any] = _make_app()
app.task(run_sent_job, name=RUN_JOB, max_retries=0)
