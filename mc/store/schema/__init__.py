"""The schema: tables and their upgrades."""
