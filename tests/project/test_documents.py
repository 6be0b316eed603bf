"""Links between the documents, and from the code to them, lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "demo" / "README.md",
    ROOT / "client" / "README.md",
    ROOT / "ml" / "pretrained" / "MODEL_CARD.md",
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
CODE = [path for package in ("detection", "dfdsite", "ml", "worker") for path in sorted((ROOT / package).rglob("*.py"))]


def prose(text: str) -> str:
    """Drop fenced code blocks: a `#` in them is a comment, and no heading."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ +(.+)$", prose(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """Return the links of `text`, a document at `page`, whose file or heading does not exist."""
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_wrong_link_is_seen() -> None:
    text = "[a](docs/none.md) [b](docs/api.md#none) [c](#none) [d](docs/api.md#webhooks) [e](https://example.org/#x)"
    assert broken(ROOT / "README.md", text) == ["docs/none.md", "docs/api.md#none", "#none"]


def test_the_documents_that_the_code_names_exist() -> None:
    named = {
        (path.relative_to(ROOT), file, anchor)
        for path in CODE
        for file, anchor in re.findall(r"\b(docs/\w+\.md)(?:#([\w-]+))?", path.read_text())
    }
    assert any(anchor for _, _, anchor in named)
    for path, file, anchor in named:
        assert (ROOT / file).exists(), f"{path}: {file}"
        assert not anchor or anchor in anchors(ROOT / file), f"{path}: {file}#{anchor}"


def test_the_readme_is_a_front_page_that_names_every_document() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for page in PAGES[1:]:
        assert f"]({page.relative_to(ROOT)})" in text, page
