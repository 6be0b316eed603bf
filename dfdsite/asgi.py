"""ASGI entry point."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
application = get_asgi_application()

from detection import dispatch  # noqa: E402 (it needs Django to be set up)
from detection.api.middleware import AsgiRequest  # noqa: E402
from detection.services.uploads import uploads  # noqa: E402
from dfdsite import urls  # noqa: E402, F401 (with every page, or the first request would wait for them)

application.request_class = AsgiRequest
dispatch.publish_in_background()  # a request never waits for the broker
uploads.remove_abandoned_uploads()  # of web processes that were killed
