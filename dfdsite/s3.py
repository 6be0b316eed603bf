"""Storage in a bucket: Amazon's, or any that speaks its protocol."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

MEMORY_BYTES = 16 * 1024 * 1024
"""A file that is being read is kept on disk beyond this: by default all of it would be in memory."""


def storage(*, bucket: str, endpoint: str = "") -> dict[str, Any]:
    """The entry of STORAGES.  Raises ImproperlyConfigured without the extra `s3`."""
    try:
        from botocore.config import Config
    except ImportError as error:
        raise ImproperlyConfigured("DFD_S3_BUCKET needs the extra s3: pip install 'deepfake-desk[s3]'.") from error
    # boto3's own patience is a minute for each of five tries, too long for a request that waits for the answer.
    facts: dict[str, Any] = {
        "connect_timeout": 3,
        "read_timeout": 30,
        "retries": {"mode": "standard", "total_max_attempts": 3},
        "signature_version": "s3v4",
    }
    if endpoint:
        # What every other implementation understands: the bucket in the path, and no trailing checksums.
        facts |= {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": bucket,
            "endpoint_url": endpoint or None,
            "default_acl": "private",
            "querystring_auth": True,
            "file_overwrite": False,
            "max_memory_size": MEMORY_BYTES,
            "client_config": Config(**facts),
        },
    }
