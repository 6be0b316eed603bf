"""Check text that comes from outside."""

from __future__ import annotations

import unicodedata


def is_storable(text: str) -> bool:
    """Return whether every database can store the text: no NUL, no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
"""Persian, Indic scripts and emoji are not spelt right without these two."""


def is_showable(char: str) -> bool:
    """Return whether a character may appear in a line of text: none that controls, reverses or breaks the line."""
    return unicodedata.category(char) not in _UNSEEN or char in _JOINERS
