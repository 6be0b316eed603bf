"""What the reader of a layout returns, and the words that lists of videos use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml.config import Label
from ml.data.catalog.files import DatasetError, DatasetItem, FoundFile, shown

LABELS = {"real": Label.REAL, "fake": Label.FAKE, "0": Label.REAL, "1": Label.FAKE}
SPLITS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Layout:
    """The videos, files that the set's lists name but the folder lacks, and sentences about what was skipped."""

    items: Sequence[DatasetItem]
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()


def left_alone(count: int, why: str) -> list[str]:
    """Return the note about videos that were skipped, if any were."""
    return [f"{count} videos were left alone: {why}."] if count else []


def add_item(items: dict[FoundFile, DatasetItem], file: FoundFile, item: DatasetItem, source: FoundFile) -> None:
    """Add an item; raise DatasetError if two rows disagree about a file."""
    if items.setdefault(file, item).label != item.label:
        raise DatasetError(
            f"{shown(source.relative)} calls {shown(file.relative)} both real and fake. Correct the list; nothing was"
            f" imported."
        )
