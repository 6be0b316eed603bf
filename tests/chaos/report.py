"""The report of a storm for people."""

from __future__ import annotations

import json
from typing import Any

ASKED = (
    "refused",
    "lost",
    "never_accepted",
    "not_as_in_calm",
    "verdicts_twice",
    "stuck",
    "told_too_seldom_or_too_often",
    "files_without_a_row",
    "rows_without_a_file",
    "quota_not_kept",
    "foreign_folders_removed",
    "sweeps_late_s",
)
"""Kinds of faults that are counted in any case; others only show where there are any."""


def shown(report: dict[str, Any]) -> str:
    """Some sentences, a table of the kinds of faults, and the first of the faults themselves."""
    at_quota, webhooks, sweeps = dict(report["at_quota"]["answers"]), dict(report["webhooks"]), report["sweeps"]
    calls = webhooks.pop("calls_that_hung")
    lines = [
        "",
        f"{report['accepted']} of {report['plan']['uploads']} uploads accepted over {report['database']},"
        f" in {report['seconds']:.0f} s ({_counts(report['answers'])}).",
        f"Faults: {_counts(report['faults'])}.",
        f"Ended: {_counts(report['states'])}; {report['second_attempts']} needed another attempt.",
        f"User at quota: {report['at_quota']['accepted_before']} accepted before; then {_counts(at_quota)}.",
        f"Webhooks: {sum(calls)} calls of {len(calls)} receivers hung; deliveries: {_counts(webhooks)}.",
        f"Sweeps: {sweeps['ran']}, one due every {sweeps['period_s']} s;"
        f" at most {sweeps['longest_gap_s']} s without one (late after {sweeps['late_after_s']} s).",
    ]
    found = report["faults_found"]
    lines += [f"  {name.replace('_', ' '):<30} {len(found.get(name, []))}" for name in ASKED]
    if found:
        lines.append(json.dumps(found, indent=1)[:4000])
    return "\n".join(lines)


def _counts(of: dict[str, int]) -> str:
    return ", ".join(f"{count} x {name.replace('_', ' ')}" for name, count in sorted(of.items())) or "none"
