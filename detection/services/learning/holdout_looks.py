"""Count the looks at the holdout: who asks often enough which candidate is better finds one that is so by chance.

Each question (this candidate against that active model, on this snapshot's holdout) is noted with the snapshot before
its answer is known, whatever asked it: a training run or `manage.py promote`.  The gate takes the number and asks for
more evidence at each look (`ml.evaluation.promotion_gate`).  The holdout grows with the labels; a look counts until
it has more than twice as many groups of people as it had then, for by then most of them have never been asked.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from detection.models import ModelVersion, Snapshot, TrainingRun

LOOKS = "looks"
"""Key in `Snapshot.summary`: a list of `candidate`, `champion`, `groups`, `look` and `at`, in the order asked."""


def take_look(*, snapshot: Snapshot, candidate: ModelVersion, champion: ModelVersion | None, groups: int) -> int:
    """Note that the holdout is asked, and return which look it is, 1 for the first.

    The same question again is the same look: it has the same answer.

    Args:
        snapshot: Whose holdout it is.
        candidate: The model that is judged.
        champion: The model that it is compared with, None where none is active.
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
    """Groups of people of each look of a run whose record has no number: those of before an upgrade."""
    found: list[int] = []
    for gate in TrainingRun.objects.exclude(gate={}).values_list("gate", flat=True):
        facts: dict[str, Any] = gate if isinstance(gate, dict) else {}
        if "look" not in facts and facts.get("figures") and isinstance(facts.get("n_components"), int):
            found.append(facts["n_components"])
    return found
