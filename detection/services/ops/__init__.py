"""Accounts, the audit log, retention, statistics."""
