"""The pytest plugin: an engine, a store, a clock, and outcomes in the place of tasks."""
