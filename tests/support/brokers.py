"""The brokers that tests send jobs by, found by MC_TEST_REDIS_URL and MC_TEST_RABBITMQ_URL.

They are by default at their usual ports on this machine. A test that needs an absent one is skipped and says
so; where CI=true it fails instead.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.left_out import leave_out

__all__ = ["BROKERS", "broker_url", "fresh_queues"]

BROKERS = {
    "redis": ("MC_TEST_REDIS_URL", "redis://127.0.0.1:6379/15"),
    "rabbitmq": ("MC_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}


def broker_url(name: str) -> str:
    """Return the URL of one of `BROKERS`, which answers."""
    from kombu import Connection

    variable, default = BROKERS[name]
    url = os.environ.get(variable, default)
    try:
        with Connection(url, connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    except Exception as error:
        leave_out(f"no {name} at {variable}, by default {default}: {error}")
    return url


@contextmanager
def fresh_queues(url: str, number: int) -> Iterator[list[str]]:
    """Yield names of queues of a broker, which are deleted at the end."""
    from kombu import Connection

    names = [f"mc_test_{uuid.uuid4().hex[:12]}" for _ in range(number)]
    try:
        yield names
    finally:
        with Connection(url) as connection, connection.channel() as channel:
            for name in names:
                channel.queue_delete(name)
                channel.exchange_delete(name)
                if connection.transport.driver_type == "redis":  # where it leaves something
                    channel.client.delete(name, f"_kombu.binding.{name}", f"_kombu.binding_permanent.{name}")
