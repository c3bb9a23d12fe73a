"""A transaction whose very first statement meets a lock for too long leaves nothing behind but an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, text

from mc.errors import StoreBusyError
from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.store.flow_store import FlowStore
from tests.support.invariants import check_store

SPEC = {"tasks": [{"key": "t", "task_type": "noop"}]}


@contextmanager
def rival_lock(url: str, database: str) -> Iterator[None]:
    """Lock the flow's row, or on SQLite the database, as a program that knows nothing of the store may."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if database == "sqlite":
                raw = connection.connection.dbapi_connection
                assert raw is not None
                raw.isolation_level = None
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("SELECT * FROM mc_flow FOR UPDATE")).all()
            yield
            connection.rollback()
    finally:
        engine.dispose()


@pytest.mark.parametrize("step", ["hold", "save", "block"])
def test_the_step_fails_as_busy_and_works_when_it_is_repeated(url: str, database: str, step: str) -> None:
    with FlowStore(url, busy_seconds=0.2) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        (lease,) = store.claim(owner="ours")
        flow = store.load("f")
        FlowEngine().run_flow(flow)
        seen = check_store(store)

        def make_step() -> None:
            if step == "hold":
                store.hold(lease).roll_back()
            elif step == "save":
                store.save(flow, lease=lease, release=True)
            else:
                store.block(lease, "because")

        with rival_lock(url, database):
            with pytest.raises(StoreBusyError, match="lock"):
                make_step()
            assert store.load("f").status == "PENDING"
        check_store(store, seen)
        make_step()
        check_store(store, seen)


def test_a_claim_passes_over_what_is_locked_and_gets_it_later(url: str, database: str) -> None:
    with FlowStore(url, busy_seconds=0.2) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        with rival_lock(url, database):
            if database == "sqlite":
                with pytest.raises(StoreBusyError):
                    store.claim(owner="ours")
            else:
                assert store.claim(owner="ours") == []
        assert [lease.flow_key for lease in store.claim(owner="ours")] == ["f"]


def test_a_renewal_passes_over_a_lease_whose_row_is_locked_and_prolongs_it_later(
    url: str, database: str
) -> None:
    with FlowStore(url, busy_seconds=0.2) as store:
        store.create(Flow.from_flow_spec(SPEC, key="f"))
        (lease,) = store.claim(owner="ours")
        with rival_lock(url, database):
            if database == "sqlite":
                with pytest.raises(StoreBusyError):
                    store.renew(lease)
            else:
                assert store.renew(lease) == lease
        assert store.renew(lease).expires_at > lease.expires_at
