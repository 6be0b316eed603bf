"""Charts of the admin."""
