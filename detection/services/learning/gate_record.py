"""The stored outcome of the promotion gate, and the rule of when a candidate goes live: `GateRecord.refusal`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detection.models import ModelVersion

MAX_SENTENCE = 1000


@dataclass(frozen=True)
class GateRecord:
    """Whether a candidate passed the promotion gate (`ml.evaluation.promotion_gate`), against which model, and why.

    Stored as JSON with training runs and promotions; `from_json` also reads records of earlier versions.
    """

    passed: bool
    sentence: str
    champion: str | None = None
    """Id of the model that it was compared with; None where none was active."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The rest: code, counts of videos and groups, look, alpha, figures."""

    @classmethod
    def from_json(cls, value: Any) -> GateRecord | None:
        """Read what `to_json` wrote; None if nothing was stored."""
        if not isinstance(value, Mapping) or not value:
            return None
        own = {"passed", "sentence", "champion"}
        champion = value.get("champion")
        return cls(
            passed=value.get("passed") is True,
            sentence=str(value.get("sentence") or "")[:MAX_SENTENCE],
            champion=champion if isinstance(champion, str) else None,
            facts={str(key): fact for key, fact in value.items() if key not in own},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is stored."""
        return {**self.facts, "passed": self.passed, "sentence": self.sentence, "champion": self.champion}

    def refusal(self, active: ModelVersion | None) -> tuple[str, str] | None:
        """Return (code, sentence) if the candidate may not replace `active`, None if it may."""
        if not self.passed:
            return "gate_refused", self.sentence or "It did not pass the gate."
        if self.champion != (str(active.pk) if active else None):
            return "stale_gate", (
                "It passed, but against a model that is no longer the active one; it must be compared again."
            )
        return None


NOT_JUDGED = "It has not been through the gate: no training run compared it with the active model."
SHUFFLED = "It was trained on shuffled labels, to check for leaks; it is not meant to be used."
