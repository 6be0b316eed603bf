"""Figures and labels as the reader's language writes them."""

from __future__ import annotations

import re

from django.utils.formats import get_format
from django.utils.translation import get_language

_PERCENT = re.compile(r"(?<=\d)%")


def numeral(text: str) -> str:
    """Return a number that was written in English (`1,234.5`, `12%`) as the reader's language writes it."""
    if (get_language() or "en").startswith("en"):
        return text
    signs = str.maketrans(".,", f"{get_format('DECIMAL_SEPARATOR')}{get_format('THOUSAND_SEPARATOR')}")
    return _PERCENT.sub("\N{NO-BREAK SPACE}%", text.translate(signs))


def within(text: object) -> str:
    """Return a label as it stands within a sentence: its first letter small.

    No language's labels may begin with a word that is always written with a capital.
    """
    words = str(text)
    return words[:1].lower() + words[1:]
