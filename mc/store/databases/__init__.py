"""Databases: one module for each kind, and the contract that all keep."""
