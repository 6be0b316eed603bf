"""The texts that scripts show: a file for each language, at an address that changes when its texts do."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import get_language, override, to_locale
from django.views.i18n import JavaScriptCatalog

KEPT_S = 365 * 24 * 3600


class Texts(JavaScriptCatalog):
    """Serve the texts of one language as a script; it holds nothing secret."""

    packages = ["detection"]

    def get(self, request: HttpRequest, language: str, version: str) -> HttpResponse:
        """Return the script, which browsers may keep: another version has another address."""
        if language not in dict(settings.LANGUAGES):
            raise Http404
        with override(language):
            response: HttpResponse = super().get(request)
        patch_cache_control(response, public=True, max_age=KEPT_S, immutable=True)
        return response


def address(request: HttpRequest) -> str:
    """Return the address of the script in the language of the page."""
    language = get_language() or settings.LANGUAGE_CODE
    return reverse("texts", kwargs={"language": language, "version": _version(language)})


@cache
def _version(language: str) -> str:
    """Return the beginning of the hash of a language's texts; English has none but those in the scripts."""
    file = Path(settings.LOCALE_PATHS[0]) / to_locale(language) / "LC_MESSAGES" / "djangojs.mo"
    return sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else "none"
