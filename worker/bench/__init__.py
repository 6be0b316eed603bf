"""Benchmarks of the whole product."""
