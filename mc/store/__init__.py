"""Persistence of flows in SQL: the only room that imports SQLAlchemy."""
