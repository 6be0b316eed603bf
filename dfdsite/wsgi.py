"""WSGI entry point, for gunicorn."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
application = get_wsgi_application()

from detection import dispatch  # noqa: E402 (it needs Django to be set up)
from detection.api import waiting  # noqa: E402
from detection.api.middleware import WsgiRequest  # noqa: E402
from detection.services.uploads import uploads  # noqa: E402
from dfdsite import urls  # noqa: E402, F401 (with every page, or the first request would wait for them)

application.request_class = WsgiRequest
dispatch.publish_in_background()  # a request never waits for the broker
waiting.stop_waiting_at_sigterm()
uploads.remove_abandoned_uploads()  # of web processes that were killed

# What is loaded by now stays for good.  Without this the collector reads all of it (tens of milliseconds, in which
# nobody is answered) each time that it looks at everything, which is every few hundred requests.
gc.collect()
gc.freeze()
