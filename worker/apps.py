"""The Django application of the workers."""

from django.apps import AppConfig


class WorkerConfig(AppConfig):
    """Brings the management commands that need `ml`."""

    name = "worker"
