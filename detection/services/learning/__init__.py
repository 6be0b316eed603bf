"""Data sets, identity splits, snapshots, the model registry."""
