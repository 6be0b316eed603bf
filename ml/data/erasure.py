"""Erase a video's faces from training packs and the feature cache.

Imports no torch, so that a process which only erases need not load it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open


def videos_in(pack: Path) -> set[str]:
    """Return the names of the videos whose crops are in the pack.  Raises ValueError or OSError if it is no pack."""
    try:
        with safe_open(str(pack), framework="numpy") as handle:  # only the table is read
            table = json.loads(handle.get_tensor("table").tobytes())
    except SafetensorError as error:
        raise ValueError(f"{pack.name} cannot be read as a pack: {error}") from error
    return {str(name) for name in table.get("video", ()) if name}


def owner_folder(video: str) -> str:
    """Return the folder, below a backbone's, of a video's cached features; "" has the folder of all other crops."""
    return hashlib.sha256(video.encode()).hexdigest()[:24] if video else "none"


def erase_features(folder: Path, videos: Collection[str]) -> int:
    """Delete the cached features of these videos for every backbone; return how many videos had any."""
    backbones = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    for old in (path for backbone in backbones for path in backbone.glob("??")):
        shutil.rmtree(old, ignore_errors=True)  # of an earlier version, which did not keep whose they are
    found = 0
    for video in videos:
        kept = [path for backbone in backbones if (path := backbone / owner_folder(video)).is_dir()]
        for path in kept:
            shutil.rmtree(path, ignore_errors=True)
        found += bool(kept)
    return found


def erase_packs(folder: Path, videos: Collection[str]) -> int:
    """Delete the packs below `folder` that hold a face of these videos or cannot be read; return how many.

    A training that has such a pack open continues with it.
    """
    removed = 0
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        try:
            held = not videos_in(path).isdisjoint(videos)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            held = True  # packs are made anew where they are missing
        if held:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
