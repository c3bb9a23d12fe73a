"""Upgrades of the schema, one module for each version, applied in the order of their numbers."""
