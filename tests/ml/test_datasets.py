"""The layouts of the data sets, each built from empty files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ml.config import Label
from ml.data.catalog.scan import DatasetError, DatasetItem, DatasetScan, scan
from tests.ml.test_shared_data import ROOT

REAL, FAKE = Label.REAL, Label.FAKE


def build(root: Path, *names: str, **texts: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in texts.items():
        (root / name).write_text(text)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def by_path(found: DatasetScan) -> dict[str, DatasetItem]:
    return {item.relative: item for item in found.items}


def refused(path: Path, format: str | None = None) -> str:
    with pytest.raises(DatasetError) as error:
        scan(path, format)
    return str(error.value)


# --- Celeb-DF --------------------------------------------------------------------------------------------------------

CELEB = (
    "Celeb-real/id32_0003.mp4",
    "Celeb-real/id7_0001.mp4",
    "YouTube-real/00170.mp4",
    "Celeb-synthesis/id32_id34_0003.mp4",
)


def test_celeb_df_with_its_list_in_which_1_means_real(tmp_path: Path) -> None:
    build(tmp_path, *CELEB)
    lines = ["1 YouTube-real/00170.mp4", "0 Celeb-synthesis/id32_id34_0003.mp4", "1 Celeb-real/id9_0001.mp4", ""]
    write(tmp_path / "List_of_testing_videos.txt", "\n".join(lines))
    found = scan(tmp_path)
    items = by_path(found)
    assert (found.format, found.name, len(items)) == ("celeb-df", "celeb-df", 4)
    fake = items["Celeb-synthesis/id32_id34_0003.mp4"]
    assert (fake.label, fake.identity, fake.donor, fake.official_split) == (FAKE, "cdf32", "cdf34", "test")
    youtube = items["YouTube-real/00170.mp4"]
    assert (youtube.label, youtube.identity, youtube.official_split) == (REAL, "cdfyt00170", "test")
    real = items["Celeb-real/id32_0003.mp4"]
    assert (real.label, real.identity, real.donor, real.official_split) == (REAL, "cdf32", "", "")
    assert found.missing == ("Celeb-real/id9_0001.mp4",)
    assert all(item.path.is_absolute() and item.path.is_file() for item in found.items)


def test_a_list_that_reads_1_as_fake_is_refused_with_the_files_name(tmp_path: Path) -> None:
    build(tmp_path, *CELEB)
    write(tmp_path / "List_of_testing_videos.txt", "0 YouTube-real/00170.mp4\n")
    sentence = refused(tmp_path)
    assert "YouTube-real/00170.mp4 is fake in List_of_testing_videos.txt, but its folder says real" in sentence


def test_folders_and_suffixes_may_differ_from_the_list_and_every_copy_of_a_test_video_is_one(tmp_path: Path) -> None:
    build(tmp_path, "copy/celeb-REAL/ID3_0001.avi", "copy/celeb-REAL/id3_0001.MOV", "copy/celeb-REAL/id4_0001.mp4")
    write(tmp_path / "list_of_testing_videos.TXT", "1 Celeb-real\\id3_0001.mp4\n")
    splits = {item.path.name: item.official_split for item in scan(tmp_path).items}
    assert splits == {"ID3_0001.avi": "test", "id3_0001.MOV": "test", "id4_0001.mp4": ""}


def test_celeb_df_without_its_list_says_so_and_a_part_of_it_is_refused(tmp_path: Path) -> None:
    build(tmp_path, *CELEB, "extra/x.mp4")
    notes = " ".join(scan(tmp_path).notes)
    assert "no video is known to be for tests only" in notes
    assert "1 videos were left alone" in notes
    assert "Give the folder above it" in refused(tmp_path / "Celeb-synthesis")


def test_a_broken_list_is_refused_with_its_line(tmp_path: Path) -> None:
    build(tmp_path, *CELEB)
    write(tmp_path / "List_of_testing_videos.txt", "1 YouTube-real/00170.mp4\n<html>\n")
    assert "Line 2" in refused(tmp_path)


# --- FaceForensics++ -------------------------------------------------------------------------------------------------


def ffpp(root: Path) -> Path:
    return build(
        root,
        "original_sequences/youtube/c23/videos/000.mp4",
        "original_sequences/youtube/c23/videos/003.mp4",
        "original_sequences/actors/raw/videos/06__kitchen.mp4",
        "manipulated_sequences/Deepfakes/c40/videos/000_003.mp4",
        "manipulated_sequences/deepfakedetection/c23/videos/06_04__kitchen__ZK95.mp4",
        "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
    )


def test_faceforensics_pairs_methods_compressions_and_actors(tmp_path: Path) -> None:
    write(ffpp(tmp_path) / "splits" / "test.json", '[["000", "003"]]')
    found = scan(tmp_path)
    items = {item.path.name: item for item in found.items}
    assert (found.format, len(items)) == ("ffpp", 5)
    fake = items["000_003.mp4"]
    assert (fake.label, fake.identity, fake.donor) == (FAKE, "ff000", "ff003")
    assert (fake.method, fake.compression, fake.official_split) == ("Deepfakes", "c40", "test")
    assert (items["003.mp4"].identity, items["003.mp4"].official_split) == ("ff003", "test")
    actor = items["06__kitchen.mp4"]
    assert (actor.label, actor.identity, actor.compression, actor.official_split) == (REAL, "dfd06", "raw", "")
    detection = items["06_04__kitchen__ZK95.mp4"]
    assert (detection.identity, detection.donor, detection.method) == ("dfd06", "dfd04", "DeepFakeDetection")
    assert found.missing == ("manipulated_sequences/Deepfakes/c40/videos/003_000",), "a pair is two fakes"
    assert found.notes == ("1 videos were left alone: they are masks.",)


def test_an_identity_in_two_splits_is_refused(tmp_path: Path) -> None:
    ffpp(tmp_path)
    write(tmp_path / "train.json", '[["000", "003"]]')
    write(tmp_path / "test.json", '[["003", "000"]]')
    assert "000 is in test.json and in train.json" in refused(tmp_path) or "003 is in" in refused(tmp_path)


def test_a_fake_across_splits_is_on_the_strictest_side(tmp_path: Path) -> None:
    ffpp(tmp_path)
    write(tmp_path / "train.json", '[["000", "001"]]')
    write(tmp_path / "test.json", '[["003", "004"]]')
    splits = {item.path.name: item.official_split for item in scan(tmp_path).items}
    assert splits["000_003.mp4"] == "test"


@pytest.mark.parametrize("text", ['{"000": "003"}', '[["000"]]', '[["000", 3]]', "[[", "[" * 100_000])
def test_broken_pairs_are_refused(tmp_path: Path, text: str) -> None:
    write(ffpp(tmp_path) / "train.json", text)
    assert "train.json" in refused(tmp_path)


def test_a_fake_among_the_originals_is_refused(tmp_path: Path) -> None:
    build(ffpp(tmp_path), "original_sequences/youtube/c23/videos/000_003.mp4")
    assert "original_sequences/youtube/c23/videos/000_003.mp4 has the name of a fake" in refused(tmp_path)


# --- DFDC ------------------------------------------------------------------------------------------------------------


def test_dfdc_groups_by_part_and_takes_labels_from_metadata(tmp_path: Path) -> None:
    build(
        tmp_path, "dfdc_train_part_1/a.mp4", "dfdc_train_part_1/B.MP4", "dfdc_train_part_1/unlisted.mp4", "test/z.mp4"
    )
    metadata = {
        "a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"},
        "b.mp4": {"label": "REAL", "split": "train"},
        "gone.mp4": {"label": "REAL", "split": "train"},
    }
    write(tmp_path / "dfdc_train_part_1" / "metadata.json", json.dumps(metadata))
    write(tmp_path / "test" / "labels.csv", "filename,label\nz.mp4,1\n")
    found = scan(tmp_path)
    items = {item.path.name: item for item in found.items}
    assert (found.format, set(items)) == ("dfdc", {"a.mp4", "B.MP4", "z.mp4"})
    assert (items["a.mp4"].label, items["a.mp4"].donor, items["a.mp4"].official_split) == (FAKE, "", "train")
    assert items["a.mp4"].identity == items["B.MP4"].identity == "dfdc_train_part_1"
    assert (items["z.mp4"].label, items["z.mp4"].identity, items["z.mp4"].official_split) == (FAKE, "dfdc_test", "test")
    assert found.missing == ("dfdc_train_part_1/gone.mp4",)
    assert found.notes == ("1 videos were left alone: no metadata.json names them.",)


def test_dfdc_labels_that_are_none_contradict_each_other_or_the_folder_are_refused(tmp_path: Path) -> None:
    build(tmp_path, "part/fake/a.mp4", "part/b.mp4")
    write(tmp_path / "part" / "metadata.json", '{"b.mp4": {"label": "maybe"}}')
    assert "calls b.mp4 'maybe'" in refused(tmp_path)
    write(tmp_path / "part" / "metadata.json", '{"b.mp4": {"label": "REAL"}, "B.avi": {"label": "FAKE"}}')
    assert "both real and fake" in refused(tmp_path)
    write(tmp_path / "part" / "metadata.json", '{"fake/a.mp4": {"label": "REAL"}}')
    assert "part/fake/a.mp4 is real in part/metadata.json, but its folder says fake" in refused(tmp_path)


# --- folders and CSV -------------------------------------------------------------------------------------------------


def test_folders_named_real_and_fake_wherever_they_are(tmp_path: Path) -> None:
    root = build(tmp_path / "my set", "x/REAL/a/one.mp4", "Fake/two.webm", "other/three.mp4", "Fake/notes.txt")
    found = scan(root)
    labels = {item.relative: (item.label, item.identity) for item in found.items}
    assert (found.format, found.name) == ("folder", "my-set")
    assert labels == {"Fake/two.webm": (FAKE, "my-set_two"), "x/REAL/a/one.mp4": (REAL, "my-set_one")}
    assert found.notes == ("1 videos were left alone: no folder above them is named `real` or `fake`.",)
    assert [item.label for item in scan(root / "Fake").items] == [FAKE], "the data set's own folder may say it"


def test_a_video_below_both_real_and_fake_is_refused(tmp_path: Path) -> None:
    build(tmp_path, "fake/real/a.mp4")
    assert "fake/real/a.mp4 lies below" in refused(tmp_path)


def test_a_csv_with_groups_donors_methods_and_splits(tmp_path: Path) -> None:
    root = build(tmp_path / "set", "v/a.mp4", "v/B.mp4", "v/c.mp4", "v/d.mkv")
    rows = [
        "Path,LABEL,group,donor,method,split,more",
        "v/a.mp4,FAKE,anna,bert,swap,train,x",
        "V/b.avi,0,bert,,,,",
        "./v/../v/c.mp4,1",
        "v/gone.mp4,real",
    ]
    write(root / "list.csv", "\ufeff" + "\r\n".join(rows))
    found = scan(root / "list.csv")
    items = by_path(found)
    assert (found.format, found.name) == ("csv", "set")
    assert items == by_path(scan(root)), "the folder's only list is found"
    fake = items["v/a.mp4"]
    assert (fake.label, fake.identity, fake.donor) == (FAKE, "set_anna", "set_bert")
    assert (fake.method, fake.official_split) == ("swap", "train")
    assert (items["v/B.mp4"].label, items["v/B.mp4"].identity) == (REAL, "set_bert")
    assert (items["v/c.mp4"].label, items["v/c.mp4"].identity) == (FAKE, "set_c")
    assert found.missing == ("v/gone.mp4",)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["../secret.mp4,real"], "Row 2 of list.csv leads out"),
        (["a/../../secret.mp4,real"], "leads out"),
        (["..\\secret.mp4,real"], "leads out"),
        (["/etc/secret.mp4,real"], "leads out"),
        (["a.mp4,perhaps"], "needs a path, a label"),
        (["a.mp4,real", "A.MP4,fake"], "both real and fake"),
        ([",real"], "needs a path"),
        (["real/b.mp4,fake"], "real/b.mp4 is fake in list.csv, but its folder says real"),
    ],
)
def test_a_csv_that_cannot_be_right_is_refused(tmp_path: Path, rows: list[str], words: str) -> None:
    write(tmp_path / "secret.mp4", "")
    root = build(tmp_path / "set", "a.mp4", "real/b.mp4")
    write(root / "list.csv", "\n".join(["path,label", *rows]))
    assert words in refused(root)


# --- what is odd -----------------------------------------------------------------------------------------------------


def test_a_layout_that_is_not_known_or_not_clear_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert "There is no folder" in refused(tmp_path / "none")
    build(tmp_path, "a.mp4")
    assert "Put the videos into folders `real` and `fake`" in refused(tmp_path)
    assert "is a file" in refused(tmp_path / "a.mp4")
    assert "Choose one of" in refused(tmp_path, "zip")
    build(tmp_path, *CELEB)
    ffpp(tmp_path)
    assert "several data sets (celeb-df, ffpp)" in refused(tmp_path)
    assert scan(tmp_path, "ffpp").format == "ffpp"


def test_hidden_files_and_links_out_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    root = build(tmp_path / "set", "real/a.mp4", "real/.b.mp4", ".cache/real/c.mp4", "real/._a.mp4")
    write(tmp_path / "outside" / "secret.mp4", "")
    os.symlink(tmp_path / "outside" / "secret.mp4", root / "real" / "secret.mp4")
    os.symlink(tmp_path / "outside", root / "real" / "folder")
    os.symlink("loop.mp4", root / "real" / "loop.mp4")
    os.symlink("../.cache/real/c.mp4", root / "real" / "annexed.mp4")
    found = scan(root)
    assert set(by_path(found)) == {"real/a.mp4", "real/annexed.mp4"}
    assert any("3 symbolic links were not followed" in note for note in found.notes)


def test_names_from_hell_become_text_that_can_be_stored_and_printed(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/real"
    os.mkdir(folder)
    for name in (b"caf\xe9.mp4", b"a\nb\x1b[31m.mp4", b"x" * 240 + b".mp4"):
        with open(folder + b"/" + name, "wb"):
            pass
    items = scan(tmp_path).items
    assert {item.relative for item in items} == {
        "real/caf\\xe9.mp4",
        "real/a\\nb\\x1b[31m.mp4",
        f"real/{'x' * 240}.mp4",
    }
    assert all(item.identity.encode() and len(item.identity) <= 160 for item in items)
    assert all(item.path.is_file() for item in items)


# --- the real thing --------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.skipif(not (ROOT / "ffpp").is_dir(), reason="the research data is not here; see DFD_SHARED_DATA")
def test_the_research_data_is_read_as_its_makers_meant_it() -> None:
    found = scan(ROOT / "ffpp")
    items = by_path(found)
    assert (found.format, found.missing, found.notes) == ("ffpp", (), ())
    assert {item.identity for item in found.items if item.identity.startswith("ff")} == {
        f"ff{number}" for number in (183, 253, 585, 599, 672, 720)
    }
    fake = items["manipulated_sequences/NeuralTextures/c40/videos/672_720.mp4"]
    assert (fake.identity, fake.donor, fake.official_split) == ("ff672", "ff720", "val")
    assert all((item.label == FAKE) == bool(item.donor) == bool(item.method) for item in found.items)

    found = scan(ROOT / "celeb-df")
    assert {item.identity: item.donor for item in found.items if item.donor} == {
        "cdf32": "cdf34",
        "cdf51": "cdf50",
        "cdf60": "cdf61",
    }
    assert {item.identity for item in found.items if item.official_split == "test"} == {"cdf60"}
