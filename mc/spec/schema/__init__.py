"""The schema: what shape a spec has."""
