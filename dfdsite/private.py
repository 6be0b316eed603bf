"""What an installation keeps to itself: its folder, its secret, its keys."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

KEY_BYTES = 32


def private_dir(path: Path) -> Path:
    """Make the folder where it is missing, for its owner only.  Raises ImproperlyConfigured: it is below DFD_VAR."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ImproperlyConfigured(f"DFD_VAR must name a folder that can be used: {error}.") from None
    return path


def stored_secret(path: Path) -> str:
    """Return the secret key of this installation: made once, readable by its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    secret = secrets.token_urlsafe(64)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(secret)
    return secret


def ed25519_keys(keys: Sequence[str], name: str) -> list[str]:
    """Return the keys of the variable `name`; raise ImproperlyConfigured unless each is 32 bytes in base64."""
    for key in keys:
        try:
            size = len(base64.b64decode(key, validate=True))
        except ValueError:
            size = 0
        if size != KEY_BYTES:
            raise ImproperlyConfigured(f"{name} must be 32 bytes in base64, as `openssl rand -base64 32` prints them.")
    return list(keys)
