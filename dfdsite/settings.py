"""All settings, from the environment.  `.env.example` lists every variable with its default.

A value that cannot be used stops the program at boot with a sentence, never later with a trace.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy

from detection import languages
from dfdsite import admin_theme, brokers, csp, logs, s3, sign_on
from dfdsite import environment as env
from dfdsite.private import ed25519_keys, private_dir, stored_secret

BASE_DIR = Path(__file__).resolve().parent.parent
env.read_file(BASE_DIR / ".env")

# --- where state lives ---------------------------------------------------------------------------------------------
VAR_DIR = private_dir(Path(env.text("DFD_VAR", str(BASE_DIR / "var"))).resolve())
MEDIA_ROOT = str(VAR_DIR / "media")
STATIC_ROOT = str(VAR_DIR / "static")
STATIC_URL = "/static/"

DEBUG = env.flag("DFD_DEBUG", default=False)
SECRET_KEY = env.text("DFD_SECRET_KEY") or stored_secret(VAR_DIR / "secret_key")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("DFD_SECRET_KEY must have at least 32 characters.")
ALLOWED_HOSTS = env.hosts("DFD_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.origins("DFD_CSRF_TRUSTED_ORIGINS")
# Behind a TLS proxy: secure cookies, HSTS and the redirect to https.
HTTPS = env.flag("DFD_HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
DFD_TRUSTED_PROXIES = env.networks("DFD_TRUSTED_PROXIES")
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True  # not so the CSRF cookie: calls.js reads the newest token from it
CONTENT_SECURITY_POLICY = {"DIRECTIVES": csp.NOTHING}

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "dfdsite.admin_app.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "detection",
    "worker",
]
MIDDLEWARE = [
    "detection.client_address.BelieveProxies",
    "django.middleware.security.SecurityMiddleware",
    "detection.api.middleware.LengthRequired",
    "detection.api.middleware.Utf8Only",
    "dfdsite.csp.PagePolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "detection.languages.PageLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "detection.audit_context.RememberRequest",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "detection.audit_context.LogRequest",
]
ROOT_URLCONF = "dfdsite.urls"
WSGI_APPLICATION = "dfdsite.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "detection" / "templates"],  # before unfold's, of which one is replaced
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE, LANGUAGES, LANGUAGE_COOKIE_AGE = languages.DEFAULT, languages.LANGUAGES, languages.COOKIE_AGE_S
LOCALE_PATHS = [BASE_DIR / "detection" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- database ------------------------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}"),
}
DATABASES["default"]["CONN_MAX_AGE"] = 60
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # WAL lets readers go on while a worker writes; IMMEDIATE takes the write lock at BEGIN, where the busy timeout
    # applies, and not at the first write, where SQLite would fail at once.  FULL syncs the log at each commit: with
    # NORMAL, which does not in WAL mode, a power cut could take back an upload that was answered with 202.
    DATABASES["default"]["OPTIONS"] = (
        {"timeout": 30}
        | DATABASES["default"].get("OPTIONS", {})
        | {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
        }
    )
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
        # A host that has gone must not hold a request or a heartbeat for minutes.
        unheard = {"connect_timeout": 5, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}
        DATABASES["default"]["OPTIONS"] = unheard | DATABASES["default"].get("OPTIONS", {})

# --- files: private storage, never served by path ------------------------------------------------------------------
S3_BUCKET = env.text("DFD_S3_BUCKET")
_default_storage: dict[str, Any] = {"BACKEND": "dfdsite.durable_storage.DurableFileSystemStorage"}
if S3_BUCKET:
    _default_storage = s3.storage(bucket=S3_BUCKET, endpoint=env.address("DFD_S3_ENDPOINT", ("https", "http")))
STORAGES = {
    "default": _default_storage,
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# Uploads above this go to a file while they arrive: the web process never holds one in memory.
FILE_UPLOAD_MAX_MEMORY_SIZE = 1 * 1024 * 1024
FILE_UPLOAD_TEMP_DIR = str(private_dir(VAR_DIR / "incoming"))
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 4

# --- limits on what comes in ---------------------------------------------------------------------------------------
DFD_MAX_UPLOAD_BYTES = env.whole("DFD_MAX_UPLOAD_BYTES", 2 * 1024**3, most=env.BYTES)
DFD_MAX_SEGMENTS = env.whole("DFD_MAX_SEGMENTS", 8)
DFD_MAX_DURATION_S = env.whole("DFD_MAX_DURATION_S", 4 * 3600)
DFD_MAX_FRAME_PIXELS = env.whole("DFD_MAX_FRAME_PIXELS", 7680 * 4320)
DFD_MAX_VIDEOS_IN_FLIGHT = env.whole("DFD_MAX_VIDEOS_IN_FLIGHT", 1000)
DFD_MAX_OPEN_UPLOADS = env.whole("DFD_MAX_OPEN_UPLOADS", 20)
DFD_MAX_BYTES_A_DAY = env.whole("DFD_MAX_BYTES_A_DAY", 200 * 1024**3, most=env.BYTES)
DFD_MAX_REQUESTS_A_MINUTE = env.whole("DFD_MAX_REQUESTS_A_MINUTE", 1200)
DFD_MAX_WAITING = env.whole("DFD_MAX_WAITING", 4, least=0)
DFD_MAX_QUEUE = env.whole("DFD_MAX_QUEUE", 100_000, least=0)
DFD_WEBHOOK_ALLOW_HTTP = env.flag("DFD_WEBHOOK_ALLOW_HTTP", default=False)
DFD_WEBHOOK_TRUSTED = env.entries("DFD_WEBHOOK_TRUSTED")
if not all(re.fullmatch(r"[^\s:]+:\d+|[0-9a-f:]+:\d+", entry) for entry in DFD_WEBHOOK_TRUSTED):
    raise ImproperlyConfigured("DFD_WEBHOOK_TRUSTED must list HOST:PORT, separated by commas.")
DFD_MAX_METADATA_BYTES = 16 * 1024

# --- the job protocol ----------------------------------------------------------------------------------------------
DFD_MAX_ATTEMPTS = env.whole("DFD_MAX_ATTEMPTS", 3, most=1000)
DFD_LEASE_S = env.whole("DFD_LEASE_S", 60)
DFD_BACKOFF_S = env.whole("DFD_BACKOFF_S", 10)
DFD_SWEEP_S = env.whole("DFD_SWEEP_S", 30)
DFD_REPUBLISH_S = env.whole("DFD_REPUBLISH_S", 120)
DFD_TASK_SOFT_LIMIT_S = env.whole("DFD_TASK_SOFT_LIMIT_S", 300)
DFD_TASK_HARD_LIMIT_S = DFD_TASK_SOFT_LIMIT_S + 30
DFD_TASK_CPU_S = env.whole("DFD_TASK_CPU_S", 900)
DFD_TASK_MEMORY_BYTES = env.whole("DFD_TASK_MEMORY_BYTES", 4 * 1024**3, least=1024**3, most=env.BYTES)
DFD_DEVICE = env.device("DFD_DEVICE")

# --- evidence reports ------------------------------------------------------------------------------------------------
# The private key that reports are signed with; without it one is made at the first report and kept under VAR_DIR.
DFD_SIGNING_KEY = (*ed25519_keys(env.entries("DFD_SIGNING_KEY"), "DFD_SIGNING_KEY"), "")[0]
# For names and comments in Chinese, Japanese and Korean: their signs are said by number without it.
DFD_REPORT_FONT = env.text("DFD_REPORT_FONT")
if DFD_REPORT_FONT and not Path(DFD_REPORT_FONT).is_file():
    raise ImproperlyConfigured(f"DFD_REPORT_FONT must name a font (.ttf or .ttc); there is no {DFD_REPORT_FONT}.")
# Whom C2PA manifests in videos are trusted from: certificates (PEM).  Nothing is ever fetched.
DFD_C2PA_TRUST = env.text("DFD_C2PA_TRUST")
if DFD_C2PA_TRUST and not Path(DFD_C2PA_TRUST).is_file():
    raise ImproperlyConfigured(f"DFD_C2PA_TRUST must name a file of certificates; there is no {DFD_C2PA_TRUST}.")
# Public keys of before: reports that they signed stay verifiable.
DFD_SIGNING_OLD_KEYS = ed25519_keys(env.entries("DFD_SIGNING_OLD_KEYS"), "DFD_SIGNING_OLD_KEYS")

# --- review ----------------------------------------------------------------------------------------------------------
DFD_REVIEW_LEASE_S = env.whole("DFD_REVIEW_LEASE_S", 300)
DFD_REVIEW_AUDIT_SHARE = env.share("DFD_REVIEW_AUDIT_SHARE", 0.02)
DFD_REVIEW_SECOND_SHARE = env.share("DFD_REVIEW_SECOND_SHARE", 0.1)
DFD_REVIEW_GOLD_SHARE = env.share("DFD_REVIEW_GOLD_SHARE", 0.03)
DFD_REVIEW_SHEET_SIZE = env.whole("DFD_REVIEW_SHEET_SIZE", 24)
DFD_REVIEW_ORDER = env.entries("DFD_REVIEW_ORDER", ["disagreement", "audit", "uncertain", "no_face"])
_queues = {"disagreement", "audit", "uncertain", "no_face", "failed"}
if not DFD_REVIEW_ORDER or not set(DFD_REVIEW_ORDER) <= _queues or len(set(DFD_REVIEW_ORDER)) < len(DFD_REVIEW_ORDER):
    raise ImproperlyConfigured(f"DFD_REVIEW_ORDER must list some of {', '.join(sorted(_queues))}, each once.")

# --- retention: days after the upload; 0 is for ever ------------------------------------------------------------------
DFD_KEEP_ORIGINALS_DAYS = env.whole("DFD_KEEP_ORIGINALS_DAYS", 0, least=0, most=env.DAYS)
DFD_KEEP_CROPS_DAYS = env.whole("DFD_KEEP_CROPS_DAYS", 0, least=0, most=env.DAYS)
DFD_KEEP_VIDEOS_DAYS = env.whole("DFD_KEEP_VIDEOS_DAYS", 0, least=0, most=env.DAYS)
DFD_KEEP_LABELLED = env.flag("DFD_KEEP_LABELLED", default=True)
# Entries of the audit log that are older go from the table into files of the storage; 0: none do.
DFD_AUDIT_DAYS = env.whole("DFD_AUDIT_DAYS", 365, least=0, most=env.DAYS)
DFD_RETENTION_S = 3600

# --- broker and Celery ---------------------------------------------------------------------------------------------
REDIS_URL = env.address("REDIS_URL", brokers.REDIS)


def _broker_socket() -> Path:
    """The embedded broker's Unix socket.  Its path may have about 100 bytes, so a deep folder needs a stand-in."""
    socket = VAR_DIR / "broker" / "valkey.sock"
    if len(str(socket).encode()) < 100:
        return socket
    digest = hashlib.sha256(str(VAR_DIR).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"dfd-{os.getuid()}-{digest}" / "valkey.sock"


EMBEDDED_BROKER_DIR = VAR_DIR / "broker"
EMBEDDED_BROKER_SOCKET = _broker_socket()
# RabbitMQ, or another Redis than the one that counts requests.
DFD_BROKER_URL = env.address("DFD_BROKER_URL", brokers.SCHEMES)
EMBEDDED_BROKER = not (DFD_BROKER_URL or REDIS_URL)
# Requests are counted where all web processes see the count; without REDIS_URL, those of this machine.
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "requests": {
        "BACKEND": "detection.api.counts.MachineCounts",
        "LOCATION": str(VAR_DIR / "requests.counts"),
    },
}
if REDIS_URL:
    CACHES["requests"] = {
        "BACKEND": "detection.api.counts.SharedCounts",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "dfd",
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
    }
CELERY_BROKER_URL = DFD_BROKER_URL or REDIS_URL or f"redis+socket://{EMBEDDED_BROKER_SOCKET}"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_TRANSPORT_OPTIONS = brokers.options(CELERY_BROKER_URL, longest_task_s=DFD_TASK_HARD_LIMIT_S)
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
# True would redeliver a task that kills its worker for ever; the sweeper counts attempts instead.
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_SOFT_TIME_LIMIT = DFD_TASK_SOFT_LIMIT_S
CELERY_TASK_TIME_LIMIT = DFD_TASK_HARD_LIMIT_S
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONCURRENCY = env.whole("DFD_CONCURRENCY", min(4, os.cpu_count() or 1))
# A child that has grown beyond this (KiB) is replaced after its task.
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 4 * 1024 * 1024
CELERY_BEAT_SCHEDULER = "worker.beat:Scheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 120
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_TASK_DEFAULT_QUEUE = "maintenance"
CELERY_TASK_ROUTES = {
    "worker.tasks.extract_faces": {"queue": "extract"},
    "worker.tasks.classify_video": {"queue": "classify"},
    "worker.tasks.make_heatmaps": {"queue": "classify"},
    "worker.tasks.make_preview": {"queue": "extract"},
    "worker.tasks.make_report": {"queue": "extract"},
    "worker.tasks.finish_uploads": {"queue": "extract"},
    "worker.tasks.sweep": {"queue": "maintenance"},
    "worker.tasks.retain": {"queue": "maintenance"},
    # Receivers are other people's, and may be slow: nothing that recovers waits behind them.
    "worker.tasks.send_webhooks": {"queue": "webhooks"},
    "worker.tasks.train_model": {"queue": "train"},
    "worker.tasks.score_shadow": {"queue": "train"},
    "worker.tasks.measure_here": {"queue": "train"},
}
# More than a turn takes (`webhook_delivery.BUDGET_S` and one attempt), less than would matter to the next webhook.
CELERY_TASK_ANNOTATIONS = {"worker.tasks.send_webhooks": {"soft_time_limit": 45, "time_limit": 60}}
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "worker.tasks.sweep",
        "schedule": DFD_SWEEP_S / 3,  # a turn may be lost; a sweep is only made when it is due
        "kwargs": {"if_due": True},
        "options": {"expires": float(DFD_SWEEP_S)},
    },
    "retain": {
        "task": "worker.tasks.retain",
        "schedule": float(DFD_RETENTION_S),
        "options": {"expires": float(DFD_RETENTION_S)},
    },
}

# --- API -----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "detection.api.auth.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["detection.api.throttle.RequestsAMinute"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["detection.api.protocol.BoundedJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "detection.api.protocol.IgnoreAccept",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "detection.api.errors.problem_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
REST_KNOX = {
    "TOKEN_TTL": None,  # set by create_token --days; revoked by deleting it in admin
    "AUTH_HEADER_PREFIX": "Token",
    "AUTO_REFRESH": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Deepfake detection",
    "DESCRIPTION": "Upload a video, poll its task, read the verdict and its evidence.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "detection.api.schema.describe_head",
        "detection.api.schema.say_when_to_try_again",
        "detection.api.schema.link_operations",
        "detection.api.schema.say_what_a_line_is",
    ],
    "ENUM_NAME_OVERRIDES": {
        "PublicStateEnum": "detection.api.filters.PUBLIC_STATES",
        "ReviewLabelEnum": "detection.models.ReviewLabel",
        "VerdictLabelEnum": "detection.models.VerdictLabel",
    },
}

# --- single sign-on -------------------------------------------------------------------------------------------------
DFD_OIDC_ISSUER = sign_on.issuer()
DFD_OIDC_CLIENT_ID = env.text("DFD_OIDC_CLIENT_ID")
DFD_OIDC_CLIENT_SECRET = env.text("DFD_OIDC_CLIENT_SECRET")
DFD_OIDC_NAME = env.text("DFD_OIDC_NAME", "single sign-on")
DFD_OIDC_SCOPES = env.text("DFD_OIDC_SCOPES", "openid profile email")
DFD_OIDC_NAME_CLAIM = env.text("DFD_OIDC_NAME_CLAIM", "preferred_username")
DFD_OIDC_GROUPS_CLAIM = env.text("DFD_OIDC_GROUPS_CLAIM", "groups")
DFD_OIDC_ROLES = sign_on.roles()
DFD_OIDC_SESSION_S = env.whole("DFD_OIDC_SESSION_S", 12 * 3600)
DFD_LOCAL_LOGIN = env.flag("DFD_LOCAL_LOGIN", default=True)
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "detection.sign_on.backend.ProviderBackend"]

# --- admin ---------------------------------------------------------------------------------------------------------
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
UNFOLD = admin_theme.UNFOLD

# --- logs ----------------------------------------------------------------------------------------------------------
LOG_JSON = env.flag("DFD_LOG_JSON", default=False)
LOGGING = logs.configured(as_json=LOG_JSON, level=env.log_level("DFD_LOG_LEVEL"))
