"""Packs keep pixels and facts as they were; splits keep people apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from ml.config import LABEL_MAP, Label
from ml.data.crop_pack import CropRow, Pack, PackError, PackWriter
from ml.data.extract_sequences import official_split_of, one_room
from ml.data.prepare import main
from ml.data.splits import SHARES, class_weights, connected_groups, split_rows
from ml.faces.landmarks import face_landmarks
from tests.ml.packs import drawn_face, small_pack

CLIPS = Path(__file__).parents[2] / "demo" / "clips"


def test_labels_are_real_0_and_fake_1() -> None:
    assert (int(Label.REAL), int(Label.FAKE)) == (0, 1)
    assert LABEL_MAP == {"real": 0, "fake": 1}


def test_a_red_crop_comes_back_red_from_png_and_from_jpeg(tmp_path: Path) -> None:
    red = np.zeros((40, 40, 3), dtype=np.uint8)
    red[:, :, 0] = 200
    writer = PackWriter()
    writer.add_crop(red, CropRow(0, "a", "s"))
    ok, jpeg = cv2.imencode(".jpg", red[:, :, ::-1])  # a JPEG file of a red picture: OpenCV writes from BGR
    assert ok
    writer.add_encoded(jpeg.tobytes(), CropRow(1, "b", "s"))
    pack = Pack(writer.write(tmp_path / "p.safetensors"))
    assert np.array_equal(pack.crop(0), red)
    assert np.abs(pack.crop(1).astype(int) - red).max() < 8
    assert pack.labels().tolist() == [0, 1]


def test_a_pack_gives_back_its_rows_and_its_sequences_in_time_order(tmp_path: Path) -> None:
    writer = PackWriter()
    rows = [CropRow(1, "t", "film", donor="d", method="swap", sequence="clip", order=k, origin="o") for k in (2, 0, 1)]
    for row in [*rows, CropRow(0, "x", "photos", split="val")]:
        writer.add_crop(drawn_face(row.order), row)
    pack = Pack(writer.write(tmp_path / "p.safetensors"))
    assert pack.rows[:3] == rows
    assert pack.sequences() == {"clip": [1, 2, 0]}
    assert pack.singles() == [3]


def test_the_content_hash_changes_with_a_label_and_with_a_pixel(tmp_path: Path) -> None:
    hashes = set()
    for name, seed, label in (("a", 1, 0), ("b", 1, 1), ("c", 2, 0), ("d", 1, 0)):
        writer = PackWriter()
        writer.add_crop(drawn_face(seed), CropRow(label, "g", "s"))
        hashes.add(Pack(writer.write(tmp_path / name)).content_sha256())
    assert len(hashes) == 3  # a and d are the same


def test_a_pack_refuses_a_label_that_is_neither_real_nor_fake() -> None:
    with pytest.raises(ValueError, match="2 is not a valid Label"):
        PackWriter().add_crop(drawn_face(0), CropRow(2, "g", "s"))


def test_an_empty_pack_and_a_foreign_file_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="empty"):
        PackWriter().write(tmp_path / "p")
    (tmp_path / "q").write_bytes(b"\x10\x00")
    with pytest.raises(PackError, match="cannot be read as a pack"):
        Pack(tmp_path / "q")


def test_class_weights_come_from_the_counts() -> None:
    assert class_weights([0, 0, 0, 1]).tolist() == pytest.approx([4 / 6, 2.0])
    with pytest.raises(ValueError, match="no FAKE"):
        class_weights([0, 0])


def test_people_who_share_a_fake_are_one_component_even_through_a_third() -> None:
    component = connected_groups([("a", "b"), ("c", "b"), ("d", ""), ("c", "")])
    assert component["a"] == component["b"] == component["c"]
    assert component["d"] != component["a"]


def test_single_crops_keep_the_data_sets_split_and_the_rest_is_held_out_by_person(tmp_path: Path) -> None:
    writer = PackWriter()
    for person in range(20):
        for k in range(2):
            writer.add_crop(drawn_face(k), CropRow(0, f"w{person}", "web"))
    writer.add_crop(drawn_face(9), CropRow(1, "x", "lab", split="val"))
    writer.add_crop(drawn_face(9), CropRow(1, "y", "lab", split="train"))
    pack = Pack(writer.write(tmp_path / "p.safetensors"))
    splits = split_rows(pack)
    assert sorted(i for indices in splits.values() for i in indices) == list(range(42))
    people = [{pack.rows[i].group for i in indices} for indices in splits.values()]
    assert sum(map(len, people)) == len(set.union(*people))
    assert [sum(pack.rows[i].source == "web" for i in splits[side]) for side in SHARES] == [24, 6, 10]
    assert 40 in splits["val"]
    assert 41 in splits["train"]


def test_a_data_set_whose_split_has_a_person_on_both_sides_is_refused(tmp_path: Path) -> None:
    writer = PackWriter()
    writer.add_crop(drawn_face(1), CropRow(0, "anna", "s", split="train"))
    writer.add_crop(drawn_face(2), CropRow(1, "bert", "s", donor="anna", split="val"))
    with pytest.raises(PackError, match="anna"):
        split_rows(Pack(writer.write(tmp_path / "p.safetensors")))


def test_a_copy_without_its_test_list_is_judged_on_its_validation_list() -> None:
    assert [official_split_of(split, tests_known=True) for split in ("train", "val", "test", "")] == [
        "train", "val", "holdout", "",
    ]  # fmt: skip
    assert [official_split_of(split, tests_known=False) for split in ("train", "val", "")] == ["train", "holdout", ""]


def test_clips_that_may_show_the_same_speakers_are_one_component() -> None:
    assert one_room("other", "grid_a") == one_room("other", "grid_b") == "other_grid"
    assert one_room("other", "liveportrait_d0") == ""


def test_the_command_counts_a_pack_and_names_what_a_data_folder_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = small_pack(tmp_path / "p.safetensors", people=4, videos=1)
    assert main(["show", str(pack.path)]) == 0
    assert "lab          FAKE  single: 12" in capsys.readouterr().out
    assert main(["prepare", "--data", str(tmp_path), "--out", str(tmp_path / "q"), "--parts", "dfdc"]) == 1
    assert "labels.csv" in capsys.readouterr().err


def test_web_photos_are_packed_as_real_with_their_person(tmp_path: Path) -> None:
    folder = tmp_path / "faces" / "web_colour"
    folder.mkdir(parents=True)
    for name in ("0_0_anna_0001", "1_0_anna_0002", "77"):
        cv2.imwrite(str(folder / f"{name}.jpg"), drawn_face(3))
    out = tmp_path / "p.safetensors"
    assert main(["prepare", "--data", str(tmp_path), "--out", str(out), "--parts", "web_colour"]) == 0
    pack = Pack(out)
    assert [(row.label, row.group, row.split) for row in pack.rows] == [
        (0, "web_anna", "train"),
        (0, "web_anna", "train"),
        (0, "web_unnamed", "train"),
    ]


def test_a_pack_keeps_landmarks_and_finds_those_it_lacks(tmp_path: Path) -> None:
    portrait = cv2.resize(data.astronaut()[20:220, 120:320], (160, 160), interpolation=cv2.INTER_AREA)
    writer = PackWriter()
    given = np.full((68, 2), 7.0, np.float32)
    writer.add_encoded(cv2.imencode(".png", portrait[:, :, ::-1])[1].tobytes(), CropRow(0, "a", "s"), given)
    writer.add_crop(portrait, CropRow(0, "b", "s"))
    path = writer.write(tmp_path / "some.safetensors")
    pack = Pack(path)
    assert np.array_equal(pack.landmarks([0])[0], given)
    found = pack.landmarks([1, 0])
    assert np.array_equal(found[1], given)
    assert np.array_equal(found[0], face_landmarks([portrait], batch=64)[0])
    writer = PackWriter()
    writer.add_crop(portrait, CropRow(0, "b", "s"))
    writer.find_landmarks()
    stored = Pack(writer.write(tmp_path / "all.safetensors"))
    assert np.abs(stored.landmarks([0])[0] - found[0]).max() < 0.1, "float16 on disk"
    assert stored.content_sha256() != pack.content_sha256()


def test_collected_files_are_packed_as_crops_photos_and_videos(tmp_path: Path) -> None:
    folder = tmp_path / "found" / "somebody+set"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "crop.png"), drawn_face(1))
    cv2.imwrite(str(folder / "photo.png"), data.astronaut()[:, :, ::-1])
    cv2.imwrite(str(folder / "nobody.png"), np.full((200, 200, 3), 90, np.uint8))
    shutil.copy(CLIPS / "one-person.mp4", folder / "clip.mp4")
    columns = "repo,commit,path,label,set,method,group,original,kind,split"
    lines = [
        "somebody/set,0,crop.png,FAKE,dfdc,swap,actor,other,crop,train",
        "somebody/set,0,photo.png,REAL,portraits,photo,astronaut,,image,",
        "somebody/set,0,nobody.png,REAL,portraits,photo,nobody,,image,",
        "somebody/set,0,clip.mp4,REAL,web clips,talk,speaker,,video,",
        "somebody/set,0,gone.png,REAL,portraits,photo,gone,,crop,",
    ]
    sources = tmp_path / "sources.csv"
    sources.write_text("\n".join([columns, *lines]))
    out = tmp_path / "p.safetensors"
    command = ["prepare", "--data", str(tmp_path), "--parts", "--sources", str(sources), "--out", str(out)]
    assert main([*command, "--collected", str(tmp_path / "found"), "--frames", "12", "--workers", "1"]) == 0
    pack = Pack(out)
    assert [(r.source, r.label, r.method) for r in pack.rows[:2]] == [("dfdc", 1, "swap"), ("portraits", 0, "")]
    assert pack.rows[0].origin == "other"
    assert pack.crop(1).shape == (224, 224, 3)
    assert pack.rows[1].face_px > 50
    (sequence,) = pack.sequences().values()
    assert len(sequence) == 12, "as many faces as were asked for"
    assert {pack.rows[i].source for i in sequence} == {"talker"}
    assert not np.isnan(pack.landmarks(range(len(pack)))).any()
    sources.write_text("path,label\nx,REAL")
    assert main([*command, "--collected", str(tmp_path / "found")]) == 1
