"""What commands print: lines, tables, CSV, JSON, logs, and how far a run is."""
