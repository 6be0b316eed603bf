"""The figures of a model, as its page shows them."""

from __future__ import annotations

import pytest
from django.test import Client

from detection.admin.metrics import headline, metric_text, sections
from tests.admin.conftest import Rows

AUC = {"value": 0.461844, "low": 0.201653, "high": 0.709843}


def test_the_whole_models_auc_is_shown_with_its_interval_and_not_a_parts(rows: Rows, review_client: Client) -> None:
    model = rows.model()
    model.metrics = {"by_source": {"easy": {"auc": {"value": 0.99, "low": 0.9, "high": 1.0}}}, "summary": {"auc": AUC}}
    model.save()
    page = review_client.get("/admin/detection/modelversion/").content.decode()
    assert "0.462 (0.202 to 0.71)" in page
    assert "0.99" not in page


@pytest.mark.parametrize("metrics", [{}, [], None, {"auc": None}, {"summary": []}, {"by_source": {"x": {"auc": 1}}}])
def test_a_model_without_figures_claims_none(metrics: object) -> None:
    assert headline(metrics) in (None, "-")


def test_what_speaks_for_the_whole_model_comes_first() -> None:
    found = sections({"by_source": {"a": 1}, "videos": {"n": 46}, "summary": {"auc": AUC}, "epochs": 12})
    assert [section.title for section in found] == ["model", "summary", "videos", "by_source"]


def test_a_matrix_is_spelt_out_and_a_curve_is_counted() -> None:
    assert metric_text([[10, 10], [4, 1]]) == "10 10  |  4 1"
    assert metric_text([0.1] * 50) == "50 values"
