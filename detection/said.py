"""Show sentences that are stored, or that services answer with, in the reader's language.

What services refuse with and workers record is English: so the database, the REST API, logs and commands have it.  A
page shows it through `said`, which knows the patterns of these sentences (`detection.sentences`).
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from django.utils.translation import get_language, gettext

from detection.localized import numeral
from detection.sentences import SENTENCES

_PLACE = re.compile(r"%\((\w+)\)s")
_NUMBER = re.compile(r"[+-]?\d[\d.,]*( ?%)?")
_VALUE = r"(?:(?![.?!] [A-Z]).)+?"  # of one sentence: those after it are looked up by themselves
_END = re.compile(r"(?<=[.?!]) ")
MAX_SENTENCES = 12


def said(text: object) -> str:
    """Return a sentence of ours, or several, in the reader's language; what is not known is returned as it is."""
    english = str(text)
    language = get_language() or "en"
    return english if not english or language.startswith("en") else _said(english, language)


@lru_cache(maxsize=2048)
def _said(text: str, language: str) -> str:
    """Translate the longest known beginning, then the rest; `language` is the active one."""
    whole = _one(text)
    if whole is not None:
        return whole
    ends = [found.start() for found in _END.finditer(text)][:MAX_SENTENCES]
    for end in reversed(ends):
        head = _one(text[:end])
        if head is not None:
            return f"{head} {_said(text[end + 1 :], language)}"
    if ends:  # the first sentence is not known; those after it may be
        return f"{text[: ends[0]]} {_said(text[ends[0] + 1 :], language)}"
    return text


def _one(text: str) -> str | None:
    """Return the translation of a text that is one pattern from end to end, else None."""
    for pattern, sentence in _patterns().get(text[:3], []) + _patterns()[""]:
        found = pattern.fullmatch(text)
        if found:
            values = {name: _value(value) for name, value in found.groupdict().items()}
            return gettext(sentence) % values
    return None


def _value(value: str) -> str:
    """Return what stands in a sentence's place: a number as the language writes it, or an enumeration of ours."""
    if _NUMBER.fullmatch(value):
        return numeral(value)
    parts = [(part, _one(part)) for part in value.split(", ")]
    return ", ".join(part if known is None else known for part, known in parts) if " " in value else value


@cache
def _patterns() -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """Return the sentences as patterns by their first three letters; under "" those that begin with a place."""
    found: dict[str, list[tuple[re.Pattern[str], str]]] = {"": []}
    for sentence in sorted(SENTENCES, key=len, reverse=True):
        plain = sentence.replace("%%", "%")
        parts = _PLACE.split(plain)
        pattern, seen = "", set()
        for k, part in enumerate(parts):
            if k % 2 == 0:
                pattern += re.escape(part)
            elif part in seen:
                pattern += f"(?P={part})"
            else:
                seen.add(part)
                pattern += f"(?P<{part}>{_VALUE})"
        begin = "" if len(parts[0]) < 3 else parts[0][:3]
        found.setdefault(begin, []).append((re.compile(pattern, re.DOTALL), sentence))
    return found
