"""What ml gives as a reason is a sentence on the pages, and what both call close is the same."""

from __future__ import annotations

import re
from pathlib import Path

from detection import wording
from detection.admin.review import evidence
from detection.models import Assessment
from ml.config import Assessment as MlAssessment
from ml.config import DecisionConfig, RejectionReason, ReviewReason

CSS = Path(evidence.__file__).parents[2] / "static" / "detection" / "admin.css"


def test_every_reason_has_its_words_and_no_words_are_left_over() -> None:
    assert set(wording.REVIEW_REASONS) == set(ReviewReason)
    assert set(wording.REJECTIONS) == set(RejectionReason)
    assert set(Assessment.values) == set(MlAssessment)
    coloured = set(re.findall(r"\.dfd-box--(\w+)", CSS.read_text()))
    assert coloured == {*RejectionReason, "other"}


def test_a_score_is_coloured_as_undecided_where_its_verdict_says_that_it_is_close() -> None:
    config = DecisionConfig()
    assert config.uncertain_margin == evidence.NEAR
    assert evidence.score_level(0.5 + config.uncertain_margin - 0.001, 0.5) == "near"
    assert evidence.score_level(0.5 + config.uncertain_margin + 0.001, 0.5) == "high"
