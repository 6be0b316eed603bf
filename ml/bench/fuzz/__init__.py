"""Hostile videos made from sound ones: `manage.py fuzz` looks at them as at uploads."""
