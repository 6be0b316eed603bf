"""Text of strangers in a PDF: escaped, and with what the font lacks said by its code point."""

from __future__ import annotations

import unicodedata
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR, BOLD, MONO = "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono"
LONGEST = 2000
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_RIGHT_TO_LEFT = ("R", "AL")


@cache
def register_fonts() -> None:
    """Register DejaVu (Latin, Greek, Cyrillic, symbols), which matplotlib brings; once a process."""
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / "mpl-data" / "fonts" / "ttf"
    for name in (REGULAR, BOLD, MONO):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)


def shown(text: str) -> str:
    """Return text that the font can show, at most `LONGEST` characters.

    What it has no sign for, what cannot be seen, and letters that are written from right to left (which need a layout
    of their own) become `[U+1234]`.
    """
    font = pdfmetrics.getFont(REGULAR)
    known = font.face.charToGlyph
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(char if _is_plain(char) and ord(char) in known else f"[U+{ord(char):04X}]" for char in short)


def markup(text: str) -> str:
    """Return `shown` text, escaped for a Paragraph."""
    return escape(shown(text), quote=False)


def _is_plain(char: str) -> bool:
    if char.isascii():
        return char.isprintable()
    return unicodedata.category(char) not in _UNSEEN and unicodedata.bidirectional(char) not in _RIGHT_TO_LEFT
