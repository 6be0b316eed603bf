"""Management commands that need a worker's libraries."""
