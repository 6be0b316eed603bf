"""Rows and timings for `benchmark_admin`."""
