"""The executor `celery`: jobs that are sent, by their keys, to workers of Celery."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import KombuError

from mc.errors import ExecutorError
from mc.flows.jobs.executor import FolderJob
from mc.jobs.executors.queue import BaseWorkersExecutor
from mc.jobs.executors.requests import check_max_workers
from mc.store.databases.shown_url import mask_url, mask_urls

__all__ = ["RUN_JOB", "CeleryExecutor", "make_app"]

RUN_JOB: Final = "mc.run_job"  # the task of Celery that runs a job
_BROKER: Final = "CELERY_BROKER_URL"  # of the environment, as Celery itself reads it
_SECONDS: Final = 4.0  # in which a broker answers
_LONGEST_ID: Final = 255  # bytes of an id that every broker bears
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "redis": {"socket_connect_timeout": _SECONDS, "socket_timeout": _SECONDS},
    "amqp": {"confirm_publish": True, "read_timeout": _SECONDS, "write_timeout": _SECONDS},
}


class CeleryExecutor(BaseWorkersExecutor):
    """Sends the keys of jobs to a broker; a worker that receives one takes its job in the database.

    So a message that comes twice, or late, does no harm, and none carries what a job does.

    Args:
        broker: URL of Redis, RabbitMQ or another broker that Celery knows; the environment variable
            `CELERY_BROKER_URL` comes before it.
        queue: name of the queue of the broker.
        max_workers: how many jobs are sent at a time, before any of them has ended; no limit unless given.
    """

    def __init__(
        self, *, broker: str | None = None, queue: str = "mc", max_workers: int | None = None
    ) -> None:
        broker = str(os.environ.get(_BROKER) or broker or "")
        if "://" not in broker:
            raise ExecutorError(
                f"`broker` is {'not given' if not broker else 'no URL'}; expected one in mc.toml, such as "
                f"redis://127.0.0.1:6379/0 or amqp://user@host, or in the environment variable {_BROKER}."
            )
        if not queue:
            raise ExecutorError("`queue` is empty; expected a name.")
        self.max_workers = check_max_workers(max_workers)
        self.broker: Final = broker
        self.queue: Final = str(queue)
        self._app = make_app(broker, [self.queue])

    def start(self, jobs: Sequence[FolderJob]) -> Mapping[str, str | ExecutorError]:
        """Send the keys of jobs, over one connection."""
        started: dict[str, str | ExecutorError] = {}
        try:
            with self._connect() as producer:
                for each in jobs:
                    key = each.job.key
                    self._app.send_task(
                        RUN_JOB,
                        args=[key],
                        task_id=_id_of(key),
                        queue=self.queue,
                        producer=producer,
                        retry=False,
                        ignore_result=True,
                        add_to_parent=False,
                        confirm_timeout=_SECONDS,
                    )
                    started[key] = _id_of(key)
        except ExecutorError:
            if not started:
                raise
        return started

    def check(self) -> None:
        """Raise `ExecutorError` where no connection can be made."""
        with self._connect():
            return

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        """Connect to the broker for a block, without retries: another tick does that."""
        connection = self._app.connection_for_write(self.broker, connect_timeout=_SECONDS)
        with connection:
            errors = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=_SECONDS)
                with self._app.amqp.Producer(connection, auto_declare=False) as producer:
                    yield producer
            except errors as error:
                raise ExecutorError(
                    f"The broker {mask_url(self.broker)} cannot be reached: "
                    f"{mask_urls(str(error)).rstrip('.')}. "
                    f"See that it runs, and what `broker` in mc.toml or {_BROKER} says."
                ) from error


def make_app(broker: str, queues: Sequence[str]) -> Celery:
    """Return an application of Celery, as its senders and its workers use it.

    A message is taken off the broker when its job begins: a job whose worker died is LOST when its lease is
    over, and tried again by its task. Brokers that wait for the end of long jobs start them again.

    Args:
        broker: its URL.
        queues: names of its queues that jobs are sent to.

    Raises:
        ExecutorError: Celery knows no such broker.
        ImportError: what Celery needs for it is not installed.
    """
    app = Celery("mc", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=_SECONDS,
        task_acks_late=False,
        task_default_queue=queues[0],
        task_ignore_result=True,
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in queues],
        worker_prefetch_multiplier=1,
    )
    try:
        transport = app.connection_for_write(broker).transport
    except (KeyError, ValueError) as error:
        scheme = broker.partition("://")[0]
        raise ExecutorError(
            f"`broker` is a URL of {scheme!r} that Celery does not know; expected "
            f"one such as redis://127.0.0.1:6379/0 or amqp://user@host."
        ) from error
    app.conf.broker_transport_options = dict(_OPTIONS.get(transport.driver_type, {}))
    app.conf.worker_disable_prefetch = transport.driver_type == "redis"  # others cannot
    return app


def _id_of(key: str) -> str:
    """Return a job's key, or where brokers would not bear it as an id, a shorter text that is as unique."""
    if len(key.encode()) <= _LONGEST_ID:
        return key
    return hashlib.sha256(key.encode()).hexdigest()
