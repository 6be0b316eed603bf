"""Analyses and other jobs: claimed under a lease, settled, requeued."""
