"""Benchmarks of extraction and training."""
