"""The product's settings with their state in a throw-away folder: what pytest runs under.

Processes that a test starts (a worker, `manage.py up`) are to see the product's own settings, so
`DJANGO_SETTINGS_MODULE` is put back for them; they share the throw-away `DFD_VAR` unless the test gives them one.
"""

import atexit
import os
import shutil
import tempfile

# One of pytest-xdist's processes ends without atexit: its folder goes with that of the run (tests/conftest.py).
_var = tempfile.mkdtemp(prefix="dfd-test-", dir=os.environ.get("DFD_TESTS_SHARED"))
atexit.register(shutil.rmtree, _var, ignore_errors=True)

# A developer's .env or shell must not lead a test to a real database, broker or bucket.  Empty is also "set", so that
# dfdsite.settings does not take these from .env.
os.environ["DFD_VAR"] = _var
os.environ["DATABASE_URL"] = os.environ.get("DFD_TEST_DATABASE_URL") or f"sqlite:///{_var}/db.sqlite3"
os.environ["REDIS_URL"] = ""
os.environ["DFD_BROKER_URL"] = ""
os.environ["DFD_S3_BUCKET"] = ""
os.environ["DJANGO_SETTINGS_MODULE"] = "dfdsite.settings"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as ml does; a test file may import torch first
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # likewise
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest's processes share the cores

from dfdsite.settings import *  # noqa: E402, F403
from dfdsite.settings import DATABASES, STATIC_ROOT, STORAGES  # noqa: E402

# No `collectstatic` before a test: file names stay as they are.
os.mkdir(STATIC_ROOT)
STORAGES = STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# Tests ask faster than any client; the ones of this limit set their own.
DFD_MAX_REQUESTS_A_MINUTE = 1_000_000
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A file, as in the product: the in-memory database that Django would take knows neither WAL nor waiting for a lock.
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": f"{_var}/test.sqlite3"}
