"""Charts of the overview page as SVG coordinates; templates draw them in the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from detection.admin.charts.training_history import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, nice
from detection.localized import numeral
from detection.selectors.dashboard import OUTCOMES, Day, Drift

OUTCOME_NAMES = {
    "real": gettext_lazy("real"),
    "fake": gettext_lazy("fake"),
    "no_face": gettext_lazy("no face"),
    "failed": gettext_lazy("failed"),
}
INNER_W, INNER_H = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
ROW = 26
LABEL_W = 118
VALUE_W = 44


@dataclass(frozen=True)
class Bar:
    """One bar, in SVG pixels; `text` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    style: str
    text: str


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    name: str
    style: str
    total: str


@dataclass(frozen=True)
class BarChart:
    """Bars over a scale; `outline` is the path of steps drawn over them, or empty."""

    title: str
    sentence: str
    bars: tuple[Bar, ...]
    keys: tuple[Key, ...]
    xs: tuple[Tick, ...]
    ys: tuple[Tick, ...]
    outline: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Interval:
    """One row of an interval chart: a dot on a line, in SVG pixels."""

    name: str
    note: str
    text: str
    y: float
    at: float | None
    low: float
    high: float


@dataclass(frozen=True)
class IntervalChart:
    """Values below each other on one scale; `marks` are vertical lines with their names."""

    title: str
    sentence: str
    rows: tuple[Interval, ...]
    marks: tuple[Tick, ...]
    height: int
    width: int = WIDTH
    left: int = LABEL_W
    right: int = WIDTH - VALUE_W


@dataclass(frozen=True)
class Estimate:
    """Input of an interval chart: a value with its interval, in units of the scale."""

    name: str
    note: str
    value: float | None
    low: float | None
    high: float | None
    text: str = ""


def outcomes_chart(days: Sequence[Day]) -> BarChart:
    """Chart analysed videos a day, stacked by outcome."""
    totals = {name: sum(day.outcomes[name] for day in days) for name in OUTCOMES}
    columns = [[(name, day.outcomes[name]) for name in OUTCOMES] for day in days]
    return _columns(
        _("Videos analysed"),
        days,
        columns,
        tuple(Key(str(OUTCOME_NAMES[name]), name, numeral(f"{totals[name]:,}")) for name in OUTCOMES),
        lambda day, name, n: f"{_day(day)}: {numeral(f'{n:,}')} {OUTCOME_NAMES[name]}",
        _in_days(sum(totals.values()), len(days)),
    )


def answers_chart(days: Sequence[Day]) -> BarChart:
    """Chart reviewers' decisions a day."""
    total = sum(day.answers for day in days)
    return _columns(
        _("Decisions of people"),
        days,
        [[("answers", day.answers)] for day in days],
        (Key(_("decisions"), "answers", numeral(f"{total:,}")),),
        lambda day, name, n: f"{_day(day)}: {_decisions(n)}",
        _in_days(total, len(days)),
    )


def drift_chart(drift: Drift) -> BarChart:
    """Chart the score histogram of this week as bars and of before as an outline."""
    groups = len(drift.now)
    ticks = nice(0.0, max((*drift.now, *drift.before, 0.05)))
    top, slot = ticks[-1], INNER_W / groups

    def y_of(share: float) -> float:
        return round(TOP + INNER_H * (1 - share / top), 1)

    bars = tuple(
        Bar(
            round(LEFT + k * slot + 1, 1), y_of(share), round(slot - 2, 1), round(HEIGHT - BOTTOM - y_of(share), 1),
            "now", between(k, groups) + numeral(f"{share:.0%} ") + _("this week")
            + (", " + numeral(f"{drift.before[k]:.0%} ") + _("before") if drift.before else ""),
        )
        for k, share in enumerate(drift.now)
    )  # fmt: skip
    outline = " ".join(
        f"{LEFT + (k + side) * slot:.1f},{y_of(share)}" for k, share in enumerate(drift.before) for side in (0, 1)
    )
    keys = [Key(_("this week"), "now", numeral(f"{drift.n_now:,}"))]
    if drift.before:
        keys.append(Key(drift.against, "before", numeral(f"{drift.n_before:,}")))
    return BarChart(
        title=_("Scores of the active model"),
        sentence=drift.sentence,
        bars=bars,
        keys=tuple(keys),
        xs=tuple(Tick(round(LEFT + k / 5 * INNER_W, 1), numeral(f"{k / 5:.1f}")) for k in range(6)),
        ys=tuple(Tick(y_of(tick), numeral(f"{tick:.0%}")) for tick in ticks),
        outline=outline,
    )


def interval_chart(
    title: str,
    sentence: str,
    figures: Sequence[Estimate],
    *,
    low: float,
    high: float,
    marks: Sequence[tuple[float, str]],
) -> IntervalChart:
    """Chart values with their intervals on a scale from `low` to `high`; what lies outside is clipped."""
    left, right = LABEL_W, WIDTH - VALUE_W

    def x_of(value: float) -> float:
        share = (min(high, max(low, value)) - low) / (high - low)
        return round(left + share * (right - left), 1)

    rows = []
    for k, figure in enumerate(figures):
        known = figure.value is not None
        rows.append(
            Interval(
                name=figure.name,
                note=figure.note,
                text=figure.text or (numeral(f"{figure.value:.2f}") if figure.value is not None else "-"),
                y=TOP + ROW * k + ROW / 2,
                at=x_of(figure.value) if figure.value is not None else None,
                low=x_of(figure.low if known and figure.low is not None else figure.value or low),
                high=x_of(figure.high if known and figure.high is not None else figure.value or low),
            )
        )
    return IntervalChart(
        title=title,
        sentence=sentence,
        rows=tuple(rows),
        marks=tuple(Tick(x_of(at), text) for at, text in marks),
        height=TOP + ROW * len(rows) + 18,
    )


def between(k: int, groups: int) -> str:
    """Return the name of a group of scores, as the beginning of a tooltip."""
    names = {"low": numeral(f"{k / groups:.1f}"), "high": numeral(f"{(k + 1) / groups:.1f}")}
    return _("Scores %(low)s to %(high)s:") % names + " "


def _day(day: date) -> str:
    return date_format(day, _("D d M"))


def _decisions(n: int) -> str:
    return ngettext("%(n)s decision", "%(n)s decisions", n) % {"n": numeral(f"{n:,}")}


def _in_days(n: int, days: int) -> str:
    return _("%(n)s in %(days)s days") % {"n": numeral(f"{n:,}"), "days": days}


def _columns(
    title: str,
    days: Sequence[Day],
    columns: Sequence[Sequence[tuple[str, int]]],
    keys: tuple[Key, ...],
    said: Callable[..., str],
    sentence: str,
) -> BarChart:
    ticks = [
        tick for tick in nice(0.0, max(1, *(sum(n for _, n in column) for column in columns))) if tick == int(tick)
    ]
    top, slot = max(ticks[-1], max(sum(n for _, n in column) for column in columns)), INNER_W / len(days)
    bars = []
    for k, column in enumerate(columns):
        below = 0.0
        for name, n in column:
            height = n / top * INNER_H
            if n:
                y = HEIGHT - BOTTOM - below - height
                text = said(days[k].day, name, n)
                bars.append(
                    Bar(round(LEFT + k * slot + 1.5, 1), round(y, 1), round(slot - 3, 1), round(height, 1), name, text)
                )
            below += height
    return BarChart(
        title=title,
        sentence=sentence,
        bars=tuple(bars),
        keys=keys,
        xs=tuple(Tick(round(LEFT + (k + 0.5) * slot, 1), f"{day.day:%d}") for k, day in enumerate(days) if k % 2 == 1),
        ys=tuple(Tick(round(HEIGHT - BOTTOM - tick / top * INNER_H, 1), short(tick)) for tick in ticks),
    )


def short(n: float) -> str:
    """Render a number in short form: 1200 as 1.2k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if n >= size:
            return numeral(f"{n / size:.3g}{letter}")
    return f"{n:.0f}"
