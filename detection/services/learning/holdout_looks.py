"""Number the looks at the holdout: after enough comparisons some candidate wins by chance.

Each comparison (this candidate with that active model on this snapshot's holdout) is recorded with the snapshot before
its result is known, by a training run or `manage.py promote`.  The gate asks for more evidence at each look
(`ml.evaluation.promotion_gate`).  The holdout grows with the labels; a look counts until the holdout has more than
twice as many groups of people as it had then.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from detection.models import ModelVersion, Snapshot, TrainingRun

LOOKS = "looks"
"""Key in `Snapshot.summary`: a list of `candidate`, `champion`, `groups`, `look` and `at`, in the order asked."""


def take_look(*, snapshot: Snapshot, candidate: ModelVersion, champion: ModelVersion | None, groups: int) -> int:
    """Record a comparison and return its number, 1 for the first.

    The same comparison again has the same number, as it has the same result.

    Args:
        snapshot: Whose holdout is used.
        candidate: The model that is judged.
        champion: The active model, or None.
        groups: Groups of people in the videos that both are judged on.
    """
    names = {"candidate": str(candidate.id), "champion": str(champion.id) if champion else None}
    with transaction.atomic():
        rows = {row.id: row for row in Snapshot.objects.select_for_update().order_by("id")}
        mine = rows[snapshot.id]
        for look in mine.summary.get(LOOKS, ()):
            if names.items() <= look.items() and look["groups"] == groups:
                return int(look["look"])
        earlier = [look["groups"] for row in rows.values() for look in row.summary.get(LOOKS, ())]
        number = 1 + sum(2 * before >= groups for before in [*earlier, *_before_looks_were_noted()])
        look = {**names, "groups": groups, "look": number, "at": timezone.now().isoformat(timespec="seconds")}
        mine.summary = mine.summary | {LOOKS: [*mine.summary.get(LOOKS, ()), look]}
        mine.save(update_fields=["summary"])
    snapshot.summary = mine.summary
    return number


def _before_looks_were_noted() -> list[int]:
    """Return the groups of people of each comparison recorded by versions that did not number looks."""
    found: list[int] = []
    for gate in TrainingRun.objects.exclude(gate={}).values_list("gate", flat=True):
        facts: dict[str, Any] = gate if isinstance(gate, dict) else {}
        if "look" not in facts and facts.get("figures") and isinstance(facts.get("n_components"), int):
            found.append(facts["n_components"])
    return found
