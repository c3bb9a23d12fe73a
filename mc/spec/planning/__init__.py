"""Planning: what a spec will do, without running it."""
