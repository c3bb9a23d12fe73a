"""History: the logs of events and of ticks."""
