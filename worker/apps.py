"""Configuration of the Django app."""

from django.apps import AppConfig


class WorkerConfig(AppConfig):
    """Makes the worker's management commands known to Django."""

    name = "worker"
