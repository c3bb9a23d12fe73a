"""Jobs: long work that is started by a tick and done elsewhere."""
