"""Configuration of the Django app."""

from django.apps import AppConfig


class DetectionConfig(AppConfig):
    """Connects the audit log's signal receivers at start."""

    name = "detection"
    verbose_name = "Detection"

    def ready(self) -> None:
        """Connect the receivers; imported here because models must be loaded first."""
        from detection.services.ops import audit_signals

        audit_signals.connect()
