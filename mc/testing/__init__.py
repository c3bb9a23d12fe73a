"""The pytest plugin: an engine, a store, a clock, and scripted results in the place of tasks."""
