"""Text from outside."""

from __future__ import annotations

import unicodedata


def is_storable(text: str) -> bool:
    """Whether every database takes it: PostgreSQL refuses NUL, and no encoding has half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Persian, Indic scripts and emoji are not spelt right without these two."""


def is_showable(char: str) -> bool:
    """Whether a character may stand in a line of text: none that controls, reverses or breaks what is around it."""
    return unicodedata.category(char) not in _UNSEEN or char in _JOINERS
