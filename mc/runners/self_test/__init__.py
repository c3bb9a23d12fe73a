"""The self-test: whether this machine keeps what it says it stored."""
