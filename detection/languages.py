"""The languages of the pages, and who is answered in which.

Pages follow the language that somebody chose (a cookie), else their browser's.  Everything that programs read (the REST
API, health checks, files) is English, whatever the request's headers say.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers

DEFAULT: str = "en-gb"
LANGUAGES: list[tuple[str, str]] = [(DEFAULT, "English"), ("de", "Deutsch")]
COOKIE_AGE_S = 365 * 24 * 3600
PAGES = ("/admin/", "/verify/")


class PageLanguage(LocaleMiddleware):
    """Django's choice of a language for pages, and `DEFAULT` for all else."""

    def process_request(self, request: HttpRequest) -> None:
        """Make the request's language the thread's."""
        if request.path_info.startswith(PAGES):
            super().process_request(request)
        else:
            translation.activate(settings.LANGUAGE_CODE)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Say that pages vary by language; the thread's is `DEFAULT` again."""
        if request.path_info.startswith(PAGES):
            response = super().process_response(request, response)
            patch_vary_headers(response, ("Cookie",))  # a choice is kept in one
        translation.activate(settings.LANGUAGE_CODE)
        return response
