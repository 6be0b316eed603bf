"""Every text of ours has a German one, and what is served is what was written."""

from __future__ import annotations

import ast
import gettext
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from detection.sentences import SENTENCES
from tests.languages import messages
from tests.languages.messages import LOCALE, PLACE, ROOT, Message

DOMAINS = ("django", "djangojs")
ICON = "material-symbols-outlined"
# Not for people's eyes, or the same in every language.
PLAIN = re.compile(r"^(?:fps|C2PA|PDF|SHA-256|HTTP|s|×|–|·|&nbsp;|\W*|curl .*|[a-z] ?|esc|report-….zip)$", re.S)  # noqa: RUF001


@pytest.mark.parametrize("domain", DOMAINS)
def test_each_text_of_the_sources_has_a_german_one(domain: str) -> None:
    known = {messages.of_entry(entry): entry for entry in messages.catalogue(domain)}
    sources = messages.in_sources(domain)
    assert len(sources) > 150
    assert sorted(sources - set(known)) == [], "python manage.py makemessages finds more"
    assert sorted(set(known) - sources) == [], "python manage.py makemessages finds less"


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_entry_is_empty_doubtful_or_has_other_places_than_the_english_one(domain: str) -> None:
    faults = []
    for entry in messages.catalogue(domain):
        texts = messages.translations(entry)
        if entry.obsolete or entry.fuzzy or not all(texts) or (entry.msgid_plural and len(texts) != 2):
            faults.append(entry.msgid)
        if any(set(PLACE.findall(text)) != set(PLACE.findall(entry.msgid)) for text in texts):
            faults.append(f"places: {entry.msgid}")
        edges = (entry.msgid[:1].isspace(), entry.msgid[-1:].isspace())
        if any((text[:1].isspace(), text[-1:].isspace()) != edges for text in texts):
            faults.append(f"white space: {entry.msgid}")
    assert faults == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_compiled_file_says_what_the_written_one_says(domain: str) -> None:
    with (LOCALE / f"{domain}.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    told = {}
    for entry in messages.catalogue(domain):
        context = entry.msgctxt
        if entry.msgid_plural:
            told[entry.msgid] = [compiled.ngettext(entry.msgid, entry.msgid_plural, n) for n in (1, 2)]
        else:
            text = compiled.pgettext(context, entry.msgid) if context else compiled.gettext(entry.msgid)
            told[f"{context or ''}{entry.msgid}"] = [text]
    written = {
        f"{entry.msgctxt or ''}{entry.msgid}": messages.translations(entry) for entry in messages.catalogue(domain)
    }
    assert told == written


def test_the_search_for_texts_sees_what_it_should() -> None:
    python = 'a = _("One")\nb = gettext_lazy("Two" " three")\nc = ngettext("%(n)s x", "%(n)s xs", n)\nd = str("four")'
    assert set(messages.of_python(python)) == {Message("One"), Message("Two three"), Message("%(n)s x", "%(n)s xs")}
    template = (
        '{% load i18n %}{% translate "It\'s 5 %" %}{{ x|date:_("j M") }}{% translate "Run" context "of" %}'
        "{% blocktranslate count n=x %}{{ n }} y{% plural %}{{ n }} ys{% endblocktranslate %}"
    )
    assert set(messages.of_template(template)) == {
        Message("It's 5 %%"), Message("j M"), Message("Run", context="of"), Message("%(n)s y", "%(n)s ys"),
    }  # fmt: skip
    script = 'gettext("a \\"b\\""); ngettext("%(n)s c", "%(n)s cs", n);'
    assert set(messages.of_script(script)) == {Message('a "b"'), Message("%(n)s c", "%(n)s cs")}


class Words(HTMLParser):
    """Texts outside of a template's tags, and those of attributes that are shown or read aloud."""

    SHOWN = ("aria-label", "title", "placeholder", "alt")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in ("img", "input", "link", "meta", "rect", "line", "circle", "polyline"):
            self._within.append("icon" if ICON in (values.get("class") or "") else tag)
        self.found += [value for name, value in attrs if name in self.SHOWN and value]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in self.SHOWN and value]

    def handle_endtag(self, tag: str) -> None:
        if self._within:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if not self._within or self._within[-1] not in ("script", "style", "pre", "icon", "kbd"):
            self.found.append(data)


def untranslated(source: str) -> list[str]:
    """Return what a template says in words of its own."""
    source = re.sub(r"\{% block bodyclass %\}.*?\{% endblock %\}", "", source)
    source = re.sub(r"\{%\s*(blocktrans\w*|comment)\b.*?\{%\s*end\1\s*%\}|\{#.*?#\}", "", source, flags=re.S)
    source = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "\0", source, flags=re.S)
    words = Words()
    words.feed(source)
    parts = [part.strip() for text in words.found for part in text.split("\0")]
    return [part for part in parts if re.search(r"[A-Za-z]{2}", part) and not PLAIN.match(part)]


OWN = [file for file in messages.templates() if file.name != "header_title.html"]  # unfold's, with no text


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_no_template_says_anything_untranslated(file: Path) -> None:
    assert untranslated(file.read_text()) == []


def test_an_untranslated_text_is_seen() -> None:
    source = '{% load i18n %}<p title="A tip">Some words {{ n }} more {% translate "known" %}</p><pre>code here</pre>'
    assert untranslated(source) == ["A tip", "Some words", "more"]


# --- Python -----------------------------------------------------------------------------------------------------------

KEYWORDS = {
    "description",
    "empty_title",
    "empty_text",
    "help_text",
    "label",
    "search_help_text",
    "title",
    "verbose_name",
}
KNOWN = {*SENTENCES, "No such label."}
"""Stored in English and shown through `said`, or never shown."""


def plain_texts(source: str) -> list[str]:
    """Return texts that a page's code shows as they are: of one of `KEYWORDS`, or a sentence."""
    tree, found = ast.parse(source), []
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in {*messages.FUNCTIONS, "ngettext", "pgettext", "Refused"}:
                inside |= {below for argument in node.args for below in ast.walk(argument)}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside |= {part.value for part in node.body if isinstance(part, ast.Expr)}
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in KEYWORDS for t in node.targets):
            found += [node.value.value] if isinstance(node.value, ast.Constant) else []
        elif isinstance(node, ast.keyword) and node.arg in KEYWORDS and isinstance(node.value, ast.Constant):
            found.append(node.value.value)
    sentences = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside
        and re.search(r"[a-z] [a-z].*[.?!]$", node.value)
    ]  # fmt: skip
    return [text for text in [*found, *sentences] if isinstance(text, str) and text and text not in KNOWN]


def test_no_page_has_an_untranslated_text_in_its_code() -> None:
    admin = sorted((ROOT / "detection" / "admin").rglob("*.py"))
    faults = {str(file.relative_to(ROOT)): plain_texts(file.read_text()) for file in admin}
    assert {name: texts for name, texts in faults.items() if texts} == {}


def test_an_untranslated_text_in_code_is_seen() -> None:
    source = (
        'title = "owner"\n@display(description="When")\ndef f():\n    """Say."""\n    return "It is so."\n_("All.")'
    )
    assert sorted(plain_texts(source)) == ["It is so.", "When", "owner"]


def test_no_script_says_anything_untranslated() -> None:
    """A sentence, or a text that `make` or `button` shows, is an argument of gettext."""
    shown = re.compile(
        r'(?:text: |title: |"aria-label": |alt: |fault\(|textContent = |placeholder = )[`"]([^`"$]*[a-z]{2}[^`"$]*)[`"]'
    )
    sentence = re.compile(r'(?<!gettext\()(?<!gettext\(")["`]([A-Z][a-z]*(?: [^"`]+)[.?…])["`]')
    faults = []
    for file in messages.scripts():
        code = re.sub(r"//.*", "", file.read_text())
        code = re.sub(r"n?gettext\((\"(?:[^\"\\]|\\.)*\")(, \"(?:[^\"\\]|\\.)*\")?", "", code)
        faults += [(file.name, text) for pattern in (shown, sentence) for text in pattern.findall(code)]
    assert faults == []
