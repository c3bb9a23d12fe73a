"""Leases: what is due, and who claims it."""
