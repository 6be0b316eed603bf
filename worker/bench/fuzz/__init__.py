"""Fuzzing of what reads uploaded files."""
