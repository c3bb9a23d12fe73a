"""Settings: what a file and the environment say of a database, of handlers, jobs and limits."""
