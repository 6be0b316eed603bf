"""The gate on a pack: only people whom neither file has seen, single crops as videos of one face."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml.data.crop_pack import CropRow, Pack, PackError, PackWriter
from ml.data.splits import HOLDOUT
from ml.training.compare import judged, main
from tests.ml.packs import drawn_face
from tests.weights import save_tiny


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    writer = PackWriter()
    for person in range(12):
        for label in (0, 1):
            split = HOLDOUT if person < 8 else "train"
            writer.add_crop(drawn_face(person * 2 + label), CropRow(label, f"p{person}", "one", split=split))
    for order in range(3):
        row = CropRow(0, "film star", "two", split=HOLDOUT, sequence="film#0", order=order, video="film")
        writer.add_crop(drawn_face(900 + order), row)
    return Pack(writer.write(tmp_path / "p.pack"))


def test_whom_either_file_has_seen_does_not_judge(pack: Pack) -> None:
    chosen = judged(pack, seen={"p0", "p1"})
    held = {row.group for row in chosen.rows if row.split == HOLDOUT}
    assert held == {*(f"p{n}" for n in range(2, 8)), "film star"}
    assert len(chosen.sequences()) == 13
    assert {row.source for row in judged(pack, seen=set(), sources=["two"]).rows if row.split == HOLDOUT} == {"two"}
    with pytest.raises(PackError, match="neither file"):
        judged(pack, seen={row.group for row in pack.rows})


def test_a_file_never_beats_itself(pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "w.safetensors"
    save_tiny(weights)
    assert main([str(pack.path), str(weights), str(weights)]) == 1
    assert "Refused" in capsys.readouterr().out
    assert main([str(tmp_path / "none.pack"), str(weights), str(weights)]) == 1
