"""A benchmark's report for people: a table, a picture, and what has become slower since an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORSE = 1.1
"""A ratio may be this much worse than before: runs on one machine differ by as much."""
RATIOS = {"naive_to_product": "times faster than naive", "product_to_floor": "times the floor"}


def table(report: Mapping[str, Any]) -> str:
    """A line a clip, then where the time goes, then the machine."""
    rows: list[tuple[str, ...]] = [("clip", "what", "naive", "product", "floor", "faster", "x floor")]
    for clip in report["clips"]:
        ratios = clip["ratios"]
        medians = (_seconds(clip[kind]["median"]) for kind in ("naive", "product", "floor"))
        shown = (_times(ratios["naive_to_product"], 1), _times(ratios["product_to_floor"], 2))
        rows.append((clip["name"][:40], clip["facts"], *medians, *shown))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for kind in ("naive", "product", "floor"):
        parts = [f"{stage} {_seconds(figure['median'])}" for stage, figure in report["stages"][kind].items()]
        if parts:
            lines.append(f"{kind}: {', '.join(parts)}")
    machine = report["machine"]
    memory = report["memory"]
    lines.append(
        f"peak memory of a worker that extracts: {memory['extract_mb']:.0f} MB ({memory['libraries_mb']:.0f} of them"
        f" shared libraries' files); that does both stages: {memory['both_mb']:.0f} MB"
    )
    lines.append(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['device']}, Python {machine['python']}, torch"
        f" {machine['torch']}. Seconds of one video, medians; ratios: geometric mean over the clips"
        f" {_times(report['ratios']['naive_to_product'], 1)} faster, {_times(report['ratios']['product_to_floor'], 2)}"
        " the floor."
    )
    return "\n".join(lines)


def throughput(report: Mapping[str, Any]) -> str:
    """Videos a second both ways, as sentences."""
    bare, system, machine = report["bare"], report["system"], report["machine"]
    ended = ", ".join(f"{count} {state}" for state, count in system["states"].items())
    return "\n".join(
        [
            f"bare pipeline, {report['processes']} processes: {bare['videos_per_s']:.2f} videos/s"
            f" ({report['videos']} in {bare['seconds']:.1f} s)",
            f"API, queue, {report['processes']} workers:  {system['videos_per_s']:.2f} videos/s"
            f" ({report['videos']} in {system['seconds']:.1f} s: {ended})",
            f"First verdict of a worker that has loaded nothing yet: {report['cold_s']:.1f} s after the upload began.",
            f"{report['share']:.0%} of the bare pipeline. {machine['cpu']}, {machine['cores']} cores.",
        ]
    )


def scoring(found: Mapping[str, Any]) -> str:
    """Videos a second of the network alone, as a small table."""
    quick, machine = found["quick"], found["machine"]
    lines = [f"{'together':>8}  {'float32':>9}  {quick:>9}   videos/s"]
    lines += [
        f"{together:>8}  {rates['float32']:>9.1f}  {rates['quick']:>9.1f}"
        for together, rates in found["videos_per_s"].items()
    ]
    lines.append(f"Scores: at most {found['worst_score_difference']} from float32.")
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['device']}.")
    return "\n".join(lines)


def accuracy(found: Mapping[str, Any]) -> str:
    """The same as sentences."""
    lost, besides = found["lost"], found["found_besides"]
    lines = [
        f"{found['videos']} videos, full size looked at in every {found['stride']}. frame.",
        f"Lost: {', '.join(lost) if lost else 'nobody'}.",
        f"Found only by the product: {', '.join(besides) if besides else 'nobody'}.",
        f"Boxes: median overlap (IoU) {found['median_iou']} with those at full size.",
        f"Scores: at most {found['worst_score_difference']} from float32.",
    ]
    if found["refused"]:
        lines.append(f"No videos: {', '.join(found['refused'])}.")
    return "\n".join(lines)


def slower(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Sentences on ratios that are clearly worse than in the earlier report; ratios, as machines differ in seconds."""
    found = []
    for clip in now["clips"]:
        old = next(
            (c for c in before.get("clips", ()) if (c["name"], c["facts"]) == (clip["name"], clip["facts"])), None
        )
        for key, words in RATIOS.items():
            was, is_now = (old or {}).get("ratios", {}).get(key), clip["ratios"][key]
            if not was or not is_now:
                continue
            worse = was / is_now if key == "naive_to_product" else is_now / was
            if worse > WORSE:
                found.append(f"{clip['name']}: {is_now:.2f} {words}, before {was:.2f}.")
    return found


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Product and floor as stacked bars by stage, the naive one as a number beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    for row, kind in enumerate(("floor", "product")):
        left = 0.0
        for stage, values in report["stages"][kind].items():
            width = values["median"] or 0.0
            bar = axes.barh(row, width, left=left, edgecolor="white")
            if width > 0.04:
                axes.bar_label(bar, labels=[f"{stage}\n{width:.2f}"], label_type="center", fontsize=8, color="white")
            left += width
    axes.set_yticks([0, 1], ["floor", "product"])
    axes.set_xlabel("seconds a video, medians by stage")
    naive = report["naive"]["median"]
    title = f"{report['machine']['cores']} cores, {report['machine']['device']}"
    axes.set_title(f"{title}; the naive pipeline takes {naive:.1f} s" if naive else title, fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _times(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}x"
