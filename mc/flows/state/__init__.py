"""State: what a flow keeps of its tasks."""
