"""Text of strangers in a PDF: escaped, and with what the fonts lack said by its code point."""

from __future__ import annotations

import unicodedata
from functools import cache
from html import escape
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import structlog
from django.conf import settings
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont

log = structlog.get_logger(__name__)

REGULAR, BOLD, MONO = "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono"
EAST_ASIAN = "EastAsian"
"""The font that the settings name, for Chinese, Japanese and Korean: what is written in squares needs no layout."""
LONGEST = 2000
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_RIGHT_TO_LEFT = ("R", "AL")


@cache
def register_fonts() -> None:
    """Register DejaVu (Latin, Greek, Cyrillic, symbols), which matplotlib brings, and the settings' font; once.

    A font that cannot be used is noted in the log, and no reason to make no report.
    """
    spec = find_spec("matplotlib")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / "mpl-data" / "fonts" / "ttf"
    for name in (REGULAR, BOLD, MONO):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
    if settings.DFD_REPORT_FONT:
        try:
            pdfmetrics.registerFont(TTFont(EAST_ASIAN, settings.DFD_REPORT_FONT))
        except (TTFError, OSError) as error:
            log.error("report_font_unusable", font=settings.DFD_REPORT_FONT, error=str(error))
        else:
            same = dict.fromkeys(("normal", "bold", "italic", "boldItalic"), EAST_ASIAN)
            pdfmetrics.registerFontFamily(EAST_ASIAN, **same)


def shown(text: str) -> str:
    """Return text that the fonts can show, at most `LONGEST` characters.

    What they have no sign for, what cannot be seen, and letters that are written from right to left (which need a
    layout of their own) become `[U+1234]`.
    """
    return "".join(run for _, run in _runs(text))


def markup(text: str) -> str:
    """Return `shown` text, escaped for a Paragraph, with the font named where it is not the usual one."""
    return "".join(
        f'<font name="{font}">{escape(run, quote=False)}</font>' if font else escape(run, quote=False)
        for font, run in _runs(text)
    )


def _runs(text: str) -> list[tuple[str, str]]:
    """Return (font, text) of each run; no font for the usual one."""
    usual = pdfmetrics.getFont(REGULAR).face.charToGlyph
    registered = EAST_ASIAN in pdfmetrics.getRegisteredFontNames()
    squares = pdfmetrics.getFont(EAST_ASIAN).face.charToGlyph if registered else {}

    def signs(char: str) -> tuple[str, str]:
        if _is_plain(char) and ord(char) in usual:
            return "", char
        if unicodedata.east_asian_width(char) in ("W", "F") and _is_plain(char) and ord(char) in squares:
            return EAST_ASIAN, char
        return "", f"[U+{ord(char):04X}]"

    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    runs = groupby(map(signs, short), key=lambda one: one[0])
    return [(font, "".join(char for _, char in run)) for font, run in runs]


def _is_plain(char: str) -> bool:
    if char.isascii():
        return char.isprintable()
    return unicodedata.category(char) not in _UNSEEN and unicodedata.bidirectional(char) not in _RIGHT_TO_LEFT
