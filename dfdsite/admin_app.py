"""Django's admin, whose pages are imported with the URLs and not with the settings: workers and commands show none."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class AdminConfig(SimpleAdminConfig):
    """Finds no pages by itself: `detection.admin` registers every one, and `dfdsite.urls` imports it."""

    def ready(self) -> None:
        """Register Django's checks, over all pages."""
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(_check_pages, checks.Tags.admin)


def _check_pages(app_configs: Any, **options: Any) -> list[checks.CheckMessage]:
    import detection.admin  # noqa: F401 (registers them)

    return check_admin_app(app_configs, **options)
