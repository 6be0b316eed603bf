"""Text from outside."""

from __future__ import annotations


def is_storable(text: str) -> bool:
    """Whether every database takes it: PostgreSQL refuses NUL, and no encoding has half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
