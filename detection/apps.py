"""Configuration of the Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class DetectionConfig(AppConfig):
    """Connects the audit log's signal receivers at start, and has columns named in the reader's language."""

    name = "detection"
    verbose_name = gettext_lazy("Detection")

    def ready(self) -> None:
        """Connect the receivers and name the columns; imported here because models must be loaded first."""
        from detection import column_names
        from detection.services.ops import audit_signals

        column_names.translate(self.get_models())

        audit_signals.connect()
