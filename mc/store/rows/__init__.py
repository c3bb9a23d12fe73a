"""Rows: one module for each kind of row, both ways."""
