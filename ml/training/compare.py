"""The promotion gate without a database: `python -m ml.compare PACK CHAMPION CANDIDATE [--sources dfdc]`.

Compares two files of weights on the held-out people of a pack, without people that either was trained on.  A single
crop counts as a video of one face.  Exits with 0 when the candidate has won, with 1 when it is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ml.data.crop_pack import Pack, PackError
from ml.data.splits import HOLDOUT
from ml.evaluation.promotion_gate import compare
from ml.evaluation.scored_video import ScoredVideo
from ml.model.inference import choose_device
from ml.model.weights import WeightsError, WeightsInfo, load_weights, read_info
from ml.training.feature_cache import FeatureCache
from ml.training.fit import FitOptions, scored_split


def judged(pack: Pack, *, seen: set[str], sources: Sequence[str] = ()) -> Pack:
    """Return the pack's held-out rows of people not `seen` in training, each single crop as a sequence of its own.

    Raises PackError if none is left.
    """
    rows = list(pack.rows)
    kept = 0
    for i, row in enumerate(rows):
        wanted = row.split == HOLDOUT and not {row.group, row.donor} & seen and (not sources or row.source in sources)
        kept += wanted
        if wanted and not row.sequence:
            rows[i] = replace(row, sequence=f"crop {i}", video=f"crop {i}")
        elif not wanted:
            rows[i] = replace(row, split="", sequence="")
    if not kept:
        raise PackError("No held-out row of the pack shows people that neither file was trained on.")
    chosen = Pack(pack.path)
    chosen.rows = [row if row.split else replace(row, split="train") for row in rows]
    return chosen


def score(pack: Pack, path: Path, cache: Path) -> tuple[list[ScoredVideo], WeightsInfo]:
    """Score the held-out videos with a file of weights."""
    model, info = load_weights(path)
    model = model.to(choose_device())
    features = FeatureCache(cache, model)
    options, temperature, shift = FitOptions(), info.temperature, info.shift
    return scored_split(model, pack, HOLDOUT, features, options, temperature=temperature, shift=shift), info


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.compare", description="Champion against candidate on a pack.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("champion", type=Path)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--sources", nargs="+", default=(), help="only these data sets of the pack")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    try:
        seen = {*read_info(args.champion).trained_on, *read_info(args.candidate).trained_on}
        pack = judged(Pack(args.pack), seen=seen, sources=args.sources)
        with tempfile.TemporaryDirectory() as cache:
            old, old_info = score(pack, args.champion, Path(cache))
            new, new_info = score(pack, args.candidate, Path(cache))
    except (PackError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 1
    result = compare(old, new, champion_threshold=old_info.threshold, candidate_threshold=new_info.threshold)
    print(json.dumps(result.to_dict(), indent=1) if args.json else result.sentence)
    return 0 if result.passed else 1
