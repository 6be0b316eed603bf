"""Chart of the scores of a version in shadow beside the active model's."""

from __future__ import annotations

from django.utils.translation import gettext as _

from detection.admin.charts.overview import INNER_H, INNER_W, Bar, BarChart, Key, between
from detection.admin.charts.training_history import BOTTOM, HEIGHT, LEFT, TOP, Tick, nice
from detection.localized import numeral
from detection.selectors.live_traffic import LiveTraffic


def score_chart(live: LiveTraffic) -> BarChart:
    """Chart the version's scores as bars and the active model's, of the same videos, as an outline."""
    new, old = ([n / live.n for n in counts] for counts in (live.scores, live.champion_scores))
    ticks = nice(0.0, max((*new, *old, 0.05)))
    slot = INNER_W / len(new)

    def y_of(share: float) -> float:
        return round(TOP + INNER_H * (1 - share / ticks[-1]), 1)

    bars = tuple(
        Bar(
            round(LEFT + k * slot + 1, 1), y_of(share), round(slot - 2, 1), round(HEIGHT - BOTTOM - y_of(share), 1),
            "now", between(k, len(new)) + numeral(f"{share:.0%} ") + _("in shadow") + ", "
            + numeral(f"{old[k]:.0%} ") + _("active"),
        )
        for k, share in enumerate(new)
    )  # fmt: skip
    outline = " ".join(
        f"{LEFT + (k + side) * slot:.1f},{y_of(share)}" for k, share in enumerate(old) for side in (0, 1)
    )
    return BarChart(
        title=_("Fake probabilities of the same videos"),
        sentence=_("Bars: the version in shadow. Line: the active model."),
        bars=bars,
        keys=(
            Key(_("in shadow"), "now", numeral(f"{live.n:,}")),
            Key(_("active model"), "before", numeral(f"{live.n:,}")),
        ),
        xs=tuple(Tick(round(LEFT + k / 5 * INNER_W, 1), numeral(f"{k / 5:.1f}")) for k in range(6)),
        ys=tuple(Tick(y_of(tick), numeral(f"{tick:.0%}")) for tick in ticks),
        outline=outline,
    )
