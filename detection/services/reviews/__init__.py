"""Review answers, the review queues, gold videos, label files."""
