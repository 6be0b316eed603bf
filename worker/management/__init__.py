"""Management commands that need `ml`."""
