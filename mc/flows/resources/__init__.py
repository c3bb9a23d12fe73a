"""Resources: slots and rates that tasks hold."""
