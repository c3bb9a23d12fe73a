"""The output of commands: lines, tables, CSV, JSON, logs, and how far a run is."""
