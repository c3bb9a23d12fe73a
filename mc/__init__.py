"""MissionControl: an embedded, durable workflow engine."""
