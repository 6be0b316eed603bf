"""What the sources have translated: found as `makemessages` finds it, without the tools of gettext."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polib  # type: ignore[import-untyped]
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parents[2]
LOCALE = ROOT / "detection" / "locale" / "de" / "LC_MESSAGES"
FUNCTIONS = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLACE = re.compile(r"%\(\w+\)s|%%|\{[^}]*\}")
_QUOTED = r"u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
_CALL = re.compile(rf"(?<![A-Za-z])(n?p?gettext|_)\(((?:{_QUOTED},? ?)+)")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_JS_ONE, _JS_MANY = re.compile(rf"(?<!n)gettext\({_STRING}"), re.compile(rf"ngettext\({_STRING}, {_STRING}")


@dataclass(frozen=True, order=True)
class Message:
    """A text in English, with its plural and its context where it has them."""

    text: str
    plural: str = ""
    context: str = ""


def python_files() -> list[Path]:
    return [*sorted((ROOT / "detection").rglob("*.py")), *sorted((ROOT / "dfdsite").glob("*.py"))]


def templates() -> list[Path]:
    return sorted((ROOT / "detection" / "templates").rglob("*.html"))


def scripts() -> list[Path]:
    return sorted((ROOT / "detection" / "static").rglob("*.js"))


def of_python(source: str) -> Iterator[Message]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if name in FUNCTIONS and len(texts) == 1:
            yield Message(texts[0])
        elif name == "ngettext" and len(texts) == 2:
            yield Message(*texts)
        elif name in ("pgettext", "pgettext_lazy") and len(texts) == 2:
            yield Message(texts[1], context=texts[0])


def of_template(source: str) -> Iterator[Message]:
    """Django writes a template's texts as calls, one after another, among what it blanks out."""
    calls = _CALL.findall(templatize(source))
    for name, arguments in calls:
        texts = list(ast.literal_eval(f"({arguments.rstrip(', ')},)"))
        if name == "ngettext":
            yield Message(*texts[:2])
        elif name == "pgettext":
            yield Message(texts[1], context=texts[0])
        else:
            yield Message(texts[0])


def of_script(source: str) -> Iterator[Message]:
    for text in _JS_ONE.findall(source):
        yield Message(json.loads(f'"{text}"'))
    for one, many in _JS_MANY.findall(source):
        yield Message(json.loads(f'"{one}"'), json.loads(f'"{many}"'))


def in_sources(domain: str) -> set[Message]:
    if domain == "djangojs":
        return {message for file in scripts() for message in of_script(file.read_text())}
    found = {message for file in python_files() for message in of_python(file.read_text())}
    return found | {message for file in templates() for message in of_template(file.read_text())}


def catalogue(domain: str) -> polib.POFile:
    return polib.pofile(str(LOCALE / f"{domain}.po"))


def of_entry(entry: polib.POEntry) -> Message:
    return Message(entry.msgid, entry.msgid_plural or "", entry.msgctxt or "")


def translations(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]
