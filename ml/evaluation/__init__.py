"""Metrics, bootstrap intervals, the evaluation report and the promotion gate."""
