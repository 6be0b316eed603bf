"""The evidence report as a PDF for people: what report.json says, with the faces, in words.

Names and comments come from strangers: they are escaped, and pictures that cannot be read leave an empty frame.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from PIL import Image as PillowImage
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from worker.report import drawings
from worker.report.measured import measured_quality
from worker.report.text import BOLD, MONO, REGULAR, markup, register_fonts, shown

log = structlog.get_logger(__name__)

WIDTH = A4[0] - 36 * mm
FACES_A_ROW = 10
MAX_PEOPLE = 24
MAX_FRAMES = 10
MAX_REVIEWS = 40
PICTURE_PX = 150
"""Of the pictures in the PDF; the archive has them as they are stored."""

_TEXT = ParagraphStyle("text", fontName=REGULAR, fontSize=9.5, leading=13.5, textColor=drawings.INK)
_SMALL = ParagraphStyle("small", parent=_TEXT, fontSize=8, leading=11, textColor=drawings.GREY)
_MONO = ParagraphStyle("mono", parent=_TEXT, fontName=MONO, fontSize=8, leading=11)
_TITLE = ParagraphStyle("title", parent=_TEXT, fontName=BOLD, fontSize=16, leading=21, spaceAfter=3)
_HEAD = ParagraphStyle(
    "head", parent=_TEXT, fontName=BOLD, fontSize=12.5, leading=16, spaceBefore=12, spaceAfter=4, keepWithNext=1
)
_PERSON = ParagraphStyle("person", parent=_TEXT, fontName=BOLD, fontSize=10, leading=14, spaceBefore=6)
_CELL = ParagraphStyle("cell", parent=_SMALL, alignment=1, fontSize=6.5, leading=8)
_REVIEW = ParagraphStyle("review", parent=_TEXT, spaceAfter=5)
_WARNING = ParagraphStyle(
    "warning", parent=_TEXT, backColor=HexColor("#fff4e5"), borderColor=HexColor("#b45309"), borderWidth=0.8,
    borderPadding=6, leftIndent=7, rightIndent=7, spaceBefore=14, spaceAfter=14,
)  # fmt: skip
LIMITS = (
    "A score is no proof. It says how much the {what} look like those of forged videos that the model has learnt from;"
    " new kinds of forgery, strong compression and {weak} lead it astray in both directions.",
    "Only {what} were judged. Voice, background, cuts, captions and what the video is said to show were not.",
    "A low score does not show that a video is authentic.",
    "Heat maps show what moved the score, also where the score is wrong; they do not show what was forged.",
)
OF_FACES = {"what": "faces", "weak": "small or blurred faces"}
OF_FRAMES = {"what": "single frames", "weak": "blurred frames"}


@dataclass(frozen=True)
class Seal:
    """Who signs the archive that the PDF lies in: the key's fingerprint (hex)."""

    fingerprint: str


def make_pdf(document: Mapping[str, Any], pictures: Mapping[str, bytes], seal: Seal) -> bytes:
    """Return the PDF of a report; `pictures` maps the names in the document to PNG or JPEG.

    The same report gives the same bytes.
    """
    register_fonts()
    out = io.BytesIO()
    template = BaseDocTemplate(
        out, pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=20 * mm, bottomMargin=20 * mm,
        title=shown(f"Evidence report: {document['video']['name']}"), author="Deepfake desk", invariant=1,
    )  # fmt: skip
    frame = Frame(18 * mm, 20 * mm, WIDTH, A4[1] - 40 * mm, 0, 0, 0, 0)

    def furniture(canvas: Canvas, _: Any) -> None:
        canvas.saveState()
        canvas.setFont(REGULAR, 7)
        canvas.setFillColor(drawings.GREY)
        canvas.drawString(18 * mm, 11 * mm, f"Video {document['video']['id']}, report of {_when(document['made_at'])}")
        canvas.drawRightString(A4[0] - 18 * mm, 11 * mm, f"Page {canvas.getPageNumber()}")
        canvas.restoreState()

    template.addPageTemplates([PageTemplate(id="page", frames=[frame], onPage=furniture)])
    shrunk = {name: _shrunk(name, content) for name, content in pictures.items()}
    template.build(
        [
            *_verdict(document),
            *_looked_at(document),
            *_faces(document, shrunk),
            *_reviews(document),
            *_model(document),
            *_file(document),
            *_provenance(document),
            *_check(document, seal),
        ]
    )
    return out.getvalue()


# --- the sections ----------------------------------------------------------------------------------------------------


def _verdict(document: Mapping[str, Any]) -> list[Flowable]:
    verdict, video = document["verdict"], document["video"]
    story: list[Flowable] = [
        Paragraph("Evidence report", _SMALL),
        Paragraph(markup(video["name"]), _TITLE),
        Paragraph(f"Made on {_when(document['made_at'])} for {markup(document['made_for'])}.", _SMALL),
        Spacer(1, 10),
    ]
    if verdict is None:
        told = (
            "No verdict: no valid face was found, so no model was asked."
            if video["status"] == "no_face"
            else "No verdict: no model has judged this video."
        )
        story += [Paragraph(told, _PERSON)]
    else:
        if verdict["assessment"]:
            story += [drawings.scale(verdict["scale"], verdict["assessment"], WIDTH), Spacer(1, 8)]
        story += [
            Paragraph(f"The model says: {markup(verdict['in_words'])}.", _PERSON),
            Paragraph(
                f"{markup(verdict['meaning'])} The score is <b>{verdict['fake_probability']:.2f}</b> on a scale from 0"
                f" to 1; from <b>{verdict['threshold']:.2f}</b> on, a video counts as fake."
                f" {_whose(verdict)}",
                _TEXT,
            ),
        ]
        if verdict["left_out_people"]:
            everybody = verdict["with_everybody"]
            who = f"Reviewers left out person {' and '.join(map(str, verdict['left_out_people']))}, as no person."
            own = f" With everybody the score is {everybody['fake_probability']:.2f}." if everybody else ""
            story.append(Paragraph(who + own, _TEXT))
        if document["model"]["experimental"]:
            story.append(
                Paragraph(
                    "<b>The model is experimental.</b> Its measured quality is too low to be relied on. Nobody should"
                    " be accused of anything on its word; a person must decide.",
                    _WARNING,
                )
            )
    label = document["label"]
    decided = f"People say: <b>{markup(LABELS.get(label, label))}</b>." if label else "No person has decided yet."
    story.append(Paragraph(decided, _TEXT))
    if verdict and verdict["reasons"] and document["needs_review"] and not label:
        story.append(Paragraph(f"It needs a person's decision: {markup(' '.join(verdict['reasons']))}", _TEXT))
    return story


def _whose(verdict: Mapping[str, Any]) -> str:
    """Say whose score it is, or in which frames the model looked."""
    frames = verdict.get("whole_frames")
    if frames is None:
        return f"It is that of person {verdict['deciding_person']}."
    times = ", ".join(drawings.moment(frame["timestamp_s"]) for frame in frames[:MAX_FRAMES])
    more = f" and {len(frames) - MAX_FRAMES} more, which are in the archive" if len(frames) > MAX_FRAMES else ""
    return f"The model looked at whole frames, not at faces, and scores no person: at {times}{more}."


LABELS = {"real": "real", "fake": "fake", "no_face": "no face in it", "unsure": "unsure, or they differ"}


def _looked_at(document: Mapping[str, Any]) -> list[Flowable]:
    story: list[Flowable] = [Paragraph("What was looked at", _HEAD)]
    looked_at = document["looked_at"]
    story.append(Paragraph(markup(looked_at["text"]) if looked_at else "Nothing: the file was not opened.", _TEXT))
    video = document["video"]
    if video["truncated"]:
        story.append(
            Paragraph("Clearly fewer frames could be read than the file says it has: it is damaged or cut.", _TEXT)
        )
    if video["people_left_out"]:
        story.append(
            Paragraph(f"{video['people_left_out']} more people were seen in the background and not judged.", _TEXT)
        )
    story += [Paragraph(markup(note), _TEXT) for note in document["notes"]]
    timeline = drawings.timeline(document, WIDTH)
    if timeline is not None and document["verdict"]:
        caption = "Each dot: a face and its own score, over the video's time. Shaded: looked at. Dashed: the threshold."
        story += [KeepTogether([Spacer(1, 6), timeline, Paragraph(caption, _SMALL)])]
    return story


def _faces(document: Mapping[str, Any], pictures: Mapping[str, Image | None]) -> list[Flowable]:
    people = document["people"]
    if not people:
        return _frames(document, pictures)
    story: list[Flowable] = [Paragraph("Faces", _HEAD)]
    for person in people[:MAX_PEOPLE]:
        faces = _spread(person["faces"], FACES_A_ROW)
        score = person["fake_probability"]
        words = [f"Person {person['number']}"]
        words += [f"score {score:.2f}"] if score is not None else []
        words += ["the verdict is this person's"] if person["decides"] and len(people) > 1 else []
        words += ["a still picture"] if person["still_picture"] else []
        rows: list[list[Any]] = [[pictures.get(face["picture"]) or "" for face in faces]]
        if any(face["heatmap"] for face in faces):
            rows.append([pictures.get(face["heatmap"] or "") or "" for face in faces])
        rows.append([Paragraph(_face_text(face), _CELL) for face in faces])
        story.append(KeepTogether([Paragraph(", ".join(words), _PERSON), _pictures(rows, len(faces))]))
        if len(faces) < len(person["faces"]):
            story.append(Paragraph(f"{len(faces)} of {len(person['faces'])} faces; the archive has all.", _SMALL))
    if len(people) > MAX_PEOPLE:
        story.append(Paragraph(f"{len(people) - MAX_PEOPLE} more people are in the archive.", _SMALL))
    text = "Under each face: its moment in the video, and what it scores by itself."
    if any(face["heatmap"] for person in people for face in person["faces"]):
        text += " Second row: where the model looked (red: towards fake)."
    return [*story, Paragraph(text, _SMALL)]


def _frames(document: Mapping[str, Any], pictures: Mapping[str, Image | None]) -> list[Flowable]:
    frames = document["frames_without_a_face"][:MAX_FRAMES]
    if not frames:
        return []
    rows = [
        [pictures.get(frame["picture"]) or "" for frame in frames],
        [Paragraph(drawings.moment(frame["timestamp_s"]), _CELL) for frame in frames],
    ]
    return [Paragraph("Frames in which no valid face was found", _HEAD), _pictures(rows, len(frames))]


def _reviews(document: Mapping[str, Any]) -> list[Flowable]:
    story: list[Flowable] = [Paragraph("Who reviewed it, and how", _HEAD)]
    reviews = document["reviews"]
    if not reviews:
        return [*story, Paragraph("Nobody has yet.", _TEXT)]
    for review in reviews[:MAX_REVIEWS]:
        seen = "the model's score was shown" if review["score_was_shown"] else "without seeing the model's score"
        label = markup(LABELS.get(review["label"], review["label"]))
        line = f"<b>{markup(review['by'])}</b>: {label}. {_when(review['at'])}; {markup(review['how'])}, {seen}."
        comment = f"<br/>“{markup(review['comment'])}”" if review["comment"] else ""
        story.append(Paragraph(line + comment, _REVIEW))
    if len(reviews) > MAX_REVIEWS:
        story.append(Paragraph(f"{len(reviews) - MAX_REVIEWS} earlier ones are in the archive.", _SMALL))
    return story


def _model(document: Mapping[str, Any]) -> list[Flowable]:
    story: list[Flowable] = [Paragraph("The model, and what it can say", _HEAD)]
    model, verdict = document["model"], document["verdict"]
    words = OF_FRAMES if verdict and verdict.get("whole_frames") is not None else OF_FACES
    if model:
        state = "experimental" if model["experimental"] else "released by its measured quality"
        story += [
            Paragraph(f"<b>{markup(model['name'])}</b>, {state}. SHA-256 of its weights:", _TEXT),
            Paragraph(markup(model["sha256"]), _MONO),
        ]
        quality = measured_quality(model["metrics"])
        story += [Paragraph(f"• {markup(sentence)}", _TEXT) for sentence in quality]
        if not quality:
            story.append(Paragraph("• Its quality was not measured, or not recorded.", _TEXT))
    return [*story, *(Paragraph(f"• {sentence.format(**words)}", _TEXT) for sentence in LIMITS)]


def _file(document: Mapping[str, Any]) -> list[Flowable]:
    video = document["video"]
    size = f"{video['width']} by {video['height']} pixels" if video["width"] and video["height"] else ""
    rate = f"{video['fps']:.3g} frames a second" if video["fps"] else ""
    facts = {
        "Name": video["name"],
        "SHA-256": video["sha256"],
        "Size": f"{video['size_bytes']:,} bytes",
        "Sent by": video["owner"],
        "External id": video["external_id"],
        "Received": _when(video["uploaded_at"]),
        "Container, codec": ", ".join(filter(None, (video["container"], video["codec"]))),
        "Picture": ", ".join(filter(None, (size, rate))),
        "Duration": drawings.moment(video["duration_s"]) if video["duration_s"] else "",
    }
    return [KeepTogether([Paragraph("The file", _HEAD), table(facts)])]


_NO_MANIFEST = "No C2PA manifest was found; one is looked for in MP4 and QuickTime files alone."


def _provenance(document: Mapping[str, Any]) -> list[Flowable]:
    told = document["provenance"]
    if told is None:
        return []
    credentials = told["credentials"]
    manifest = credentials["sentence"] if credentials else _NO_MANIFEST
    if credentials and credentials.get("says_generated"):
        manifest += " It says that a model generated this, or a part of it."
    facts = {
        "C2PA manifest": manifest,
        "Made with": ", ".join(credentials.get("made_with", ())) if credentials else "",
        "Container": told["container"],
        "Encoder": ", ".join(told["encoders"]),
        "Software": ", ".join(told["software"]),
        "Camera": ", ".join(told["camera"]),
        "Created": told["created_at"] or "It does not say.",
        "Place": "The file names one; it is not kept." if told["names_a_place"] else "None named.",
        "Encoded again?": " ".join(told["second_encoding"]) or "No sign of it in what the file says.",
    }
    text = "What the file says of itself. Anybody can write such claims, and the score does not depend on them."
    return [KeepTogether([Paragraph("Where it comes from", _HEAD), Paragraph(text, _SMALL), table(facts)])]


def _check(document: Mapping[str, Any], seal: Seal) -> list[Flowable]:
    text = (
        "This PDF alone proves nothing. The archive that it came in is signed; whoever received it can check it on the"
        " page <b>/verify/</b> of any installation or with <b>manage.py verify_report FILE</b>. It must be signed by"
        " the key with this fingerprint, which should have reached you by another way as well:"
    )
    return [
        KeepTogether(
            [Paragraph("How to check this report", _HEAD), Paragraph(text, _TEXT), Paragraph(seal.fingerprint, _MONO)]
        )
    ]


# --- parts -----------------------------------------------------------------------------------------------------------


def table(facts: Mapping[str, str]) -> Table:
    """Return facts as two columns, without the empty ones."""
    rows = [[Paragraph(name, _SMALL), Paragraph(markup(text), _TEXT)] for name, text in facts.items() if text]
    # A file's tags in a script that the fonts lack take eight times the room: one row may need more than a page.
    made = Table(rows, colWidths=[32 * mm, WIDTH - 32 * mm], splitInRow=1)
    made.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -2), 0.4, drawings.LINE),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ]
        )
    )
    return made


def _pictures(rows: list[list[Any]], columns: int) -> Table:
    made = Table(rows, colWidths=[WIDTH / FACES_A_ROW] * columns, hAlign="LEFT")
    made.setStyle(
        TableStyle(
            [
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 2),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
    )
    return made


def _face_text(face: Mapping[str, Any]) -> str:
    score = face["fake_probability"]
    return drawings.moment(face["timestamp_s"]) + (f"<br/><b>{score:.2f}</b>" if score is not None else "")


def _shrunk(name: str, content: bytes) -> Image | None:
    """Return the picture at the size of a cell; None where it cannot be read."""
    try:
        with PillowImage.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            small = picture.convert("RGB")
        small.thumbnail((PICTURE_PX, PICTURE_PX))
        jpeg = io.BytesIO()
        small.save(jpeg, "JPEG", quality=88)
        side = WIDTH / FACES_A_ROW - 2
        scale = side / max(small.size)
        return Image(io.BytesIO(jpeg.getvalue()), small.width * scale, small.height * scale)
    except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
        log.warning("picture_left_out", picture=name, error=str(error))
        return None


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of them, evenly over the whole."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]


def _when(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]} UTC"
