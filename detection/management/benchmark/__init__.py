"""Rows and timings of `benchmark_admin`."""
