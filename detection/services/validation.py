"""Check text that comes from outside."""

from __future__ import annotations

import unicodedata
from functools import cache


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


@cache
def line_pattern() -> str:
    r"""Return a regular expression for schemas: lines of showable text.

    It knows the unseen characters up to U+FFFF, since `\u0000` is all that every dialect has, and no surrogates, which
    no JSON document holds.
    """
    unseen = [code for code in range(0xD800) if not is_showable(chr(code))]
    unseen += [code for code in range(0xE000, 0x10000) if not is_showable(chr(code))]
    return "^[^" + "".join(f"\\u{code:04x}" for code in unseen) + "]*$"
