"""Jobs: their folders, the script that runs one, and the executors that start it."""
