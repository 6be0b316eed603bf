"""Layouts of public data sets, read without opening a video."""
