"""Text that a file claims of itself, made fit to be stored and shown."""

from __future__ import annotations

import unicodedata

MAX_CHARACTERS = 200


def clean(text: str) -> str:
    """Return text of a stranger as one line of visible characters, at most `MAX_CHARACTERS`."""
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text[: 4 * MAX_CHARACTERS])
    return " ".join(visible.split())[:MAX_CHARACTERS]
