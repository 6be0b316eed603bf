"""Decode, probe, trim and preview video files."""
