"""A load test's report for people: a table, its sentences, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = ("what", "requests", "per s", "p50", "p95", "p99", "max", "p99 sent")


def table(report: Mapping[str, Any]) -> str:
    """A line a kind of request (ms), then errors, memory, who used the processor, and the machine."""
    rows: list[tuple[str, ...]] = [HEAD]
    rows += [_row(name, figures) for name, figures in report["endpoints"].items()]
    rows.append(_row("all but uploads", report["polling"]))
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    pace = f"every {report['pace_s']:g} s" if report["pace_s"] else "back to back"
    lines += [
        "",
        f"{report['clients']} clients, {pace}, for {report['seconds']:.0f} s; {report['uploaded']} videos uploaded,"
        f" {report['videos_ended']} of them done meanwhile. Milliseconds count from when a request was due; the last"
        f" column from when it was sent. The clients' own process was late by {report['client_late_ms']['p50']:.1f} ms"
        f" (p50), {report['client_late_ms']['p99']:.1f} ms (p99), which is part of the figures.",
        f"errors: {', '.join(f'{name} ({n})' for name, n in report['errors'].items()) or 'none'}",
    ]
    memory = report["memory"]
    if memory is None:
        lines.append("memory: not known (the web processes run elsewhere)")
    else:
        slope = "-" if memory["mb_per_10000"] is None else f"{memory['mb_per_10000']:+.2f} MB"
        lines.append(
            f"memory of {memory['processes']} web processes: {memory['start_mb']} MB at the start,"
            f" {memory['warm_mb']} MB warm, {memory['end_mb']} MB at the end; {slope} per 10,000 requests (over"
            f" {memory['requests_since_warm']:,})"
        )
    used, machine = report["cores_used"], report["machine"]
    if used is not None and report["memory"] is not None:
        lines.append(
            f"cores used: web {used['web']:.2f}, worker {used['worker']:.2f}, other work on this machine"
            f" {used['others']:.2f}"
        )
    lines.append(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}")
    return "\n".join(lines)


def complaints(report: Mapping[str, Any], *, limit_mb: float) -> list[str]:
    """Sentences on what is over a limit, and on errors."""
    found = []
    if report["errors"]:
        found.append(f"{sum(report['errors'].values())} requests failed.")
    if report["mode"] == "flat":
        memory = report["memory"]
        slope = None if memory is None else memory["mb_per_10000"]
        if slope is not None and slope > limit_mb:
            found.append(f"The web processes grow by {slope:.2f} MB per 10,000 requests; {limit_mb:g} MB are allowed.")
        return found
    p99 = report["polling"]["p99_ms"]
    if p99 > report["limit_ms"]:
        found.append(f"The p99 is {p99:.0f} ms, over the limit of {report['limit_ms']:g} ms.")
    return found


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    times = (f"{figures[f'{key}_ms']:.1f}" for key in ("p50", "p95", "p99", "max", "p99_sent"))
    return (name, f"{figures['requests']:,}", f"{figures['per_second']:.1f}", *times)
