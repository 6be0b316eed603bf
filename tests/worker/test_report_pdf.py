"""The PDF of an evidence report: what it says, and that strangers' names and pictures do it no harm."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image
from reportlab.pdfbase import pdfmetrics

from ml.video.provenance.metadata import judge
from worker.report.drawings import moment
from worker.report.measured import measured_quality
from worker.report.pdf import Seal, make_pdf
from worker.report.text import EAST_ASIAN, register_fonts

PAGE_FOOT = re.compile(r"Video[0-9a-f-]{36},reportof[0-9:-]*UTCPage[0-9]")
SEAL = Seal("ab" * 32)


def picture(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (224, 224), (90, 120, 150)).save(out, kind)
    return out.getvalue()


def document(**changes: Any) -> dict[str, Any]:
    video = {
        "id": "4a4d1c8e-6a57-4c19-9a54-2c52fcb7bd6d", "name": "clip.mp4", "sha256": "cd" * 32, "size_bytes": 1000,
        "owner": "newsroom", "external_id": "", "uploaded_at": "2026-11-30T12:00:00+00:00", "status": "succeeded",
        "container": "mp4", "codec": "h264", "width": 640, "height": 360, "fps": 25.0, "duration_s": 95.0,
        "truncated": False, "people_left_out": None,
    }  # fmt: skip
    face = {"picture": "faces/1-00.png", "heatmap": "heatmaps/1-00.jpg", "timestamp_s": 1.5, "fake_probability": 0.7}
    person = {
        "number": 1, "fake_probability": 0.67, "still_picture": False, "decides": True, "faces": [face] * 12,
    }  # fmt: skip
    scale = [
        {"assessment": "likely_real", "title": "Likely real"}, {"assessment": "suspicious", "title": "Suspicious"},
    ]  # fmt: skip
    return {
        "made_at": "2026-11-30T13:30:00+00:00", "made_for": "maria", "video": video,
        "verdict": {
            "assessment": "suspicious", "in_words": "Suspicious", "meaning": "It lies high.", "scale": scale,
            "fake_probability": 0.67, "threshold": 0.58, "deciding_person": 1, "left_out_people": [],
            "with_everybody": None, "reasons": ["Few faces."],
        },
        "looked_at": {"text": "Looked at: 2 parts, together 12 s of 95 s (13 %)."},
        "segments": [{"start_s": 0.0, "end_s": 6.0}, {"start_s": 60.0, "end_s": 66.0}],
        "people": [person], "frames_without_a_face": [], "label": None, "needs_review": True, "reviews": [],
        "model": {"name": "baseline", "sha256": "ef" * 32, "experimental": True, "metrics": {}}, "notes": [],
        "provenance": None,
    } | changes  # fmt: skip


def text_of(pdf: bytes) -> str:
    """All pages' text, with lines joined."""
    opened = pypdfium2.PdfDocument(pdf)
    try:
        pages = [page.get_textpage().get_text_bounded() for page in opened]
    finally:
        opened.close()
    return " ".join(" ".join(pages).split())


def test_it_says_the_verdict_in_words_what_was_looked_at_and_what_the_model_is_worth() -> None:
    pictures = {"faces/1-00.png": picture(), "heatmaps/1-00.jpg": picture("JPEG")}
    pdf = make_pdf(document(), pictures, SEAL)
    text = text_of(pdf)
    for sentence in (
        "The model says: Suspicious.", "The score is 0.67", "from 0.58 on", "The model is experimental.",
        "No person has decided yet.", "Few faces.", "Looked at: 2 parts, together 12 s of 95 s (13 %).",
        "Person 1, score 0.67", "10 of 12 faces; the archive has all.", "Second row: where the model looked",
        "Nobody has yet.", "Its quality was not measured", "A score is no proof.", "cd" * 32, "ab" * 32,
    ):  # fmt: skip
        assert sentence in text, sentence
    assert make_pdf(document(), pictures, SEAL) == pdf


def test_names_and_comments_of_strangers_are_shown_and_not_obeyed() -> None:
    told = document()
    told["video"]["name"] = '<img src="http://127.0.0.1/x"/></para>&amp; Ünï Речь 演 \u202egpj.exe \x00'
    told["made_for"] = "<font size=99>"
    comment = "<b>bold</b> " + "W" * 5000
    told["reviews"] = [
        {"by": "r<i>", "label": "fake", "how": "first reading", "score_was_shown": False, "comment": comment,
         "at": "2026-11-30T13:30:00+00:00"}
    ] * 60  # fmt: skip
    text = text_of(make_pdf(told, {}, SEAL))
    assert '<img src="http://127.0.0.1/x"/></para>&amp; Ünï Речь [U+6F14] [U+202E]gpj.exe [U+0000]' in text
    assert "for <font size=99>." in text
    assert "<b>bold</b> WWW" in text
    assert "r<i>: fake." in text
    assert "without seeing the model's score" in text
    assert "20 earlier ones are in the archive." in text


@pytest.fixture
def squares(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A font that has a square for one Chinese sign, and is the settings'."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "yan"])
    builder.setupCharacterMap({0x6F14: "yan", 0x0E01: "yan"})
    pen = TTGlyphPen(None)
    for move, corner in (
        (pen.moveTo, (0, 0)),
        (pen.lineTo, (0, 800)),
        (pen.lineTo, (800, 800)),
        (pen.lineTo, (800, 0)),
    ):
        move(corner)
    pen.closePath()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "yan": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "yan": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular", "psName": "Squares"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "squares.ttf"
    builder.save(path)
    settings.DFD_REPORT_FONT = str(path)
    register_fonts.cache_clear()
    yield path
    pdfmetrics._fonts.pop(EAST_ASIAN, None)
    register_fonts.cache_clear()


def test_chinese_is_readable_in_the_settings_font_and_what_needs_a_layout_is_not_tried(squares: Path) -> None:
    told = document()
    told["video"]["name"] = "<b>演演</b> \u0e01 \u4e2d.mp4"
    told["reviews"] = [
        {"by": "r", "label": "fake", "how": "first reading", "score_was_shown": False, "comment": "演" * 300,
         "at": "2026-11-30T13:30:00+00:00"}
    ]  # fmt: skip
    pdf = make_pdf(told, {}, SEAL)
    text = text_of(pdf)
    assert "<b>演演</b> [U+0E01] [U+4E2D].mp4" in text
    assert "演" * 300 in text.replace(" ", "")
    assert "[U+6F14]" not in text
    assert make_pdf(told, {}, SEAL) == pdf


def test_a_font_that_cannot_be_used_is_no_reason_to_make_no_report(squares: Path) -> None:
    squares.write_bytes(b"no font")
    told = document()
    told["video"]["name"] = "演.mp4"
    assert "[U+6F14].mp4" in text_of(make_pdf(told, {}, SEAL))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"x" * 99, b"GIF89a", picture()[:200]])
def test_a_picture_that_cannot_be_read_is_left_out(content: bytes) -> None:
    assert "Person 1" in text_of(make_pdf(document(), {"faces/1-00.png": content}, SEAL))


def test_without_a_face_it_shows_the_frames_and_says_that_no_model_was_asked() -> None:
    told = document(verdict=None, model=None, people=[], segments=[], looked_at=None)
    told["video"]["status"] = "no_face"
    told["frames_without_a_face"] = [{"picture": "frames/00.jpg", "timestamp_s": 3.0}]
    text = text_of(make_pdf(told, {"frames/00.jpg": picture("JPEG")}, SEAL))
    assert "No verdict: no valid face was found, so no model was asked." in text
    assert "Frames in which no valid face was found 3.0 s" in text
    assert "experimental" not in text


def test_measured_quality_is_said_in_sentences_and_strange_metrics_say_nothing() -> None:
    auc = {"value": 0.916, "low": 0.888, "high": 0.9375}
    metrics = {"frames": {"dfdc": {"auc": auc, "n_real": 732, "n_fake": 723, "balanced_accuracy": {"value": 0.8248}}}}
    assert measured_quality(metrics) == [
        "On people whom it had not seen in training (732 real and 723 fake single face pictures of dfdc) it ranks a"
        " fake above a real one in 92% of all pairs (95 % interval 89% to 94%); chance would be 50 %. It judges 82% of"
        " them rightly, both kinds weighing the same."
    ]
    assert len(measured_quality({"videos": {"auc": 0.7}})) == 1
    stranger: list[Any] = [None, [], {"videos": 3, "frames": {"x": {"auc": "high"}, "y": 4}}, {"videos": {"auc": None}}]
    for strange in stranger:
        assert measured_quality(strange) == []


@pytest.mark.parametrize("letter", ["ש", "演", "a"])
def test_a_file_that_says_more_of_itself_than_a_page_holds_gets_its_report(letter: str) -> None:
    names = ("make", "model", "com.android.manufacturer", "com.android.model", "author-make", "author-model")
    told = judge("QuickTime / MOV", [(name, f"{number}{letter * 199}") for number, name in enumerate(names)])
    assert len(told.camera) == len(names)
    text = text_of(make_pdf(document(provenance=told.as_dict() | {"credentials": {}}), {}, SEAL))
    shown = letter if letter == "a" else f"[U+{ord(letter):04X}]"
    letters = text[text.index("Where it comes from") :].replace(" ", "")  # a line may end within a sign
    assert PAGE_FOOT.sub("", letters).count(shown) >= 199 * len(names)
    assert "How to check this report" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00.0"), (63.5, "1:03.5"), (119.97, "2:00.0"),
        (3599.97, "1:00:00"), (3723.0, "1:02:03"),
    ],
)  # fmt: skip
def test_no_moment_has_sixty_seconds(seconds: float, words: str) -> None:
    assert moment(seconds) == words
