"""What is kept on disk of single videos' faces besides the videos: which packs and cached features hold them.

No torch in here: whoever only removes files need not load it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open


def videos_in(pack: Path) -> set[str]:
    """Names of the videos whose crops are in the pack file.  Raises ValueError or OSError where it is no pack."""
    try:
        with safe_open(str(pack), framework="numpy") as handle:  # only the table is read
            table = json.loads(handle.get_tensor("table").tobytes())
    except SafetensorError as error:
        raise ValueError(f"{pack.name} cannot be read as a pack: {error}") from error
    return {str(name) for name in table.get("video", ()) if name}


def owner_folder(video: str) -> str:
    """Where below a backbone's folder the features of a video's faces lie; "" is the folder of all others."""
    return hashlib.sha256(video.encode()).hexdigest()[:24] if video else "none"


def forget_features(folder: Path, videos: Collection[str]) -> int:
    """Remove the cached features of these videos, of every backbone; returns of how many there were any."""
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


def forget_packs(folder: Path, videos: Collection[str]) -> int:
    """Remove the packs below `folder` that hold a face of one of these videos, and what is no pack; returns how many.

    A training that has one open goes on with it.
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
