"""Upgrade 14: jobs by what they do, of those whose results may be taken by others."""

from __future__ import annotations

from sqlalchemy import Column, Connection, MetaData, Table

from mc.store.schema.upgrades.resumable import add_column, add_index
from mc.store.sql.column_types import ExactText
from mc.store.sql.sparse_index import SparseIndex

__all__ = ["upgrade"]


def upgrade(connection: Connection) -> None:
    """Add the column and its index; jobs that were stored before are taken by none."""
    add_column(connection, "mc_job", Column("work_digest", ExactText(64)))
    job = Table("mc_job", MetaData(), Column("work_digest", ExactText(64)))
    add_index(connection, SparseIndex("mc_job_work_digest", job.c.work_digest))
