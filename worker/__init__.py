"""Celery: the app, its tasks, the lazily loaded model and the embedded broker."""
