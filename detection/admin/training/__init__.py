"""Pages about training runs, model versions and data sets."""
