"""Sentences that services and workers write in English, as a German page shows them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import override

from detection import sentences
from detection.said import said
from ml.config import Label
from ml.evaluation.promotion_gate import compare, compare_alone
from ml.evaluation.scored_video import ScoredVideo
from tests.languages.messages import ROOT

SERVICES = ROOT / "detection" / "services"
ON_PAGES = (
    *sorted((SERVICES / "reviews").glob("*.py")),
    *(SERVICES / "jobs" / name for name in ("analyses.py", "evidence.py", "training_runs.py")),
    *(SERVICES / "learning" / name for name in ("shadow.py", "gate_record.py")),
    SERVICES / "ops" / "single_sign_on.py",
    ROOT / "detection" / "sign_on" / "provider.py",
    *sorted((ROOT / "ml" / "video").glob("*.py")),
)
NOT_ON_PAGES = {
    "labels.py",  # a file of labels, read by a command
    "people_text.py",  # likewise
}


def texts_of(node: ast.expr) -> Iterator[str]:
    """Return a sentence as it may come out, with a number where something is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values)  # type: ignore[misc]


def refusals(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if name in ("Refused", "VideoError") and isinstance(node, ast.Call) and len(node.args) > 1:
            yield from texts_of(node.args[1])


@pytest.mark.parametrize(
    "file", [file for file in ON_PAGES if file.name not in NOT_ON_PAGES], ids=lambda file: file.name
)
def test_what_a_service_refuses_with_is_said_in_german(file: Path) -> None:
    found = [text for text in refusals(file) if re.search("[a-z]", text)]
    with override("de"):
        assert [text for text in found if said(text) == text] == []


def test_there_are_refusals_to_look_at() -> None:
    assert len([text for file in ON_PAGES for text in refusals(file)]) > 60


def test_english_and_what_is_not_ours_stay_as_they_are() -> None:
    sentence = "There is no such video any more."
    assert said(sentence) is sentence
    with override("de"):
        assert said(sentence) == "Dieses Video gibt es nicht mehr."
        for foreign in ("", "A reviewer's own words.", "What now? Nobody knows.", "100 % sure %(n)s {x}", "\0 [a-"):
            assert said(foreign) == foreign
        assert said(None) == "None"


def test_several_sentences_are_said_one_after_another_also_with_a_foreign_one_among_them() -> None:
    with override("de"):
        assert (
            said("Given up after 3 attempts. The file is empty.") == "Nach 3 Versuchen aufgegeben. Die Datei ist leer."
        )
        assert said("Given up after 3 attempts. Odd thing. The file is empty.") == (
            "Nach 3 Versuchen aufgegeben. Odd thing. Die Datei ist leer."
        )


def test_values_keep_their_text_and_numbers_are_written_as_in_german() -> None:
    with override("de"):
        assert said("The model 'a. b %(n)s' cannot be loaded; ask the operator to register it again.") == (
            "Das Modell 'a. b %(n)s' lässt sich nicht laden; bitten Sie den Betrieb, es neu anzumelden."
        )
        long = said("The video says it lasts 14,401 s; at most 14400.5 s are taken.")
        assert "14.401 s" in long
        assert "14400,5 s" in long


def test_each_pattern_finds_itself() -> None:
    with override("de"):
        for sentence in sentences.SENTENCES:
            names = set(re.findall(r"%\((\w+)\)s", sentence))
            english = sentence % {name: f"x{k}" for k, name in enumerate(sorted(names))}
            german = said(english)
            assert german != english, sentence
            assert all(f"x{k}" in german for k in range(len(names))), sentence


def videos(real: float, fake: float, n: int = 40) -> list[ScoredVideo]:
    """Videos of as many people, whose scores lie around these."""
    return [
        ScoredVideo(f"{label.name}{k}", label, min(1.0, score + (k % 9) / 40), f"{label.name}{k}")
        for label, score in ((Label.REAL, real), (Label.FAKE, fake))
        for k in range(n)
    ]


GOOD, CHANCE, WRONG = (0.1, 0.7), (0.5, 0.5), (0.7, 0.1)


@pytest.mark.parametrize(
    ("old", "new", "n"), [(CHANCE, GOOD, 40), (GOOD, CHANCE, 40), (GOOD, WRONG, 40), (GOOD, GOOD, 3)]
)
def test_what_the_gate_says_is_said_in_german(old: tuple[float, float], new: tuple[float, float], n: int) -> None:
    for result in (
        compare(videos(*old, n), videos(*new, n), champion_threshold=0.5, candidate_threshold=0.5, n_bootstrap=200),
        compare_alone(videos(*new, n), 0.5, n_bootstrap=200),
    ):
        with override("de"):
            german = said(result.sentence)
        assert german.startswith("Bestanden: " if result.passed else "Abgelehnt: "), result.sentence
        assert not re.search(r"\b(the|of|and|with|more)\b", german), german
