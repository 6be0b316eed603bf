"""Representations over REST, and the bodies of requests."""
