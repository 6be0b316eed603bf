"""The installation's Ed25519 key: DFD_SIGNING_KEY, or made at first need and kept in VAR_DIR with mode 0600."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings

KEY_BYTES = 32
FILE_NAME = "signing_key"


@dataclass(frozen=True)
class PublicKey:
    """A public key; `raw` are its 32 bytes."""

    raw: bytes

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read base64.  Raises ValueError if it is no key."""
        raw = base64.b64decode(text, validate=True)
        if len(raw) != KEY_BYTES:
            raise ValueError(f"A public key has {KEY_BYTES} bytes.")
        return cls(raw)

    @property
    def text(self) -> str:
        """Return the key in base64."""
        return base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the key's bytes (hex): what people compare."""
        return hashlib.sha256(self.raw).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether this key signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def private_key() -> Ed25519PrivateKey:
    """Return the key that reports are signed with; it is made where there is none yet.

    Raises OSError where it can be neither read nor made, ValueError where the file holds no key.
    """
    text = settings.DFD_SIGNING_KEY or _stored(Path(settings.VAR_DIR) / FILE_NAME)
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text))


def current_key() -> PublicKey:
    """Return the public key of what is signed now.  Raises as `private_key`."""
    return public_key_of(private_key())


def public_key_of(key: Ed25519PrivateKey) -> PublicKey:
    """Return the public key that belongs to a private one."""
    return PublicKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def known_keys() -> list[PublicKey]:
    """Return the keys whose reports are this installation's: the present one first, then DFD_SIGNING_OLD_KEYS."""
    current = current_key()
    old = [PublicKey.from_text(text) for text in settings.DFD_SIGNING_OLD_KEYS]
    return [current, *(key for key in old if key != current)]


def _stored(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    # Written in full under another name first, so that a process that comes at the same time never reads half a key.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
            handle.flush()
            os.fsync(handle.fileno())
        with suppress(FileExistsError):  # another process was first
            os.link(made, path)
    finally:
        made.unlink()
    return path.read_text().strip()
