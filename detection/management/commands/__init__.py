"""Management commands that need no worker."""
