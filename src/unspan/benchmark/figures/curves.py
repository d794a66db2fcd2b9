"""Figures of points and lines: what a method keeps against what it leaves; several requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unspan.benchmark.figures.drawing import (
    COLOURS,
    ERRORS,
    MARKS,
    NEUTRAL,
    Drawing,
    Drawn,
    Spread,
    bars_of,
    class_name,
    colour_of,
    explained,
    forgotten,
    headed,
    legend_of_kinds,
    new_axes,
    place_names,
    spread_of,
)
from unspan.benchmark.table_values import REFERENCES, Filled

Point = tuple[float, float]
_FEW = 15  # methods that a small figure has room for


def pareto(title: str, rows: Sequence[Filled]) -> Drawn:
    """Remaining test accuracy against the strongest attack; the front is what no other method beats
    in both.
    """
    found = [(one, spread_of(one, "strongest"), spread_of(one, "D_rt")) for one in rows]
    shown = [(one, x, y) for one, x, y in found if x is not None and y is not None]
    if not shown:
        return []
    figure, axes = new_axes(*((6.8, 4.6) if len(shown) <= _FEW else (8.6, 6.4)))
    for number, (one, x, y) in enumerate(shown):
        axes.errorbar(
            [x.mean],
            [y.mean],
            xerr=bars_of([x]),
            yerr=bars_of([y]),
            fmt=MARKS[number % len(MARKS)],
            color=colour_of(one),
            markersize=6.5,
            elinewidth=0.7,
            zorder=3,
        )
    points = [(x.mean, y.mean) for _, x, y in shown]
    free = [
        point
        for (one, _, _), point in zip(shown, points, strict=True)
        if one.row["method"] not in REFERENCES
    ]
    front = _front(free)
    axes.plot(*zip(*front, strict=True), color=NEUTRAL, linewidth=1, linestyle="--", zorder=1)
    retrained = [x.mean for one, x, _ in shown if one.row["method"] == "retrain"]
    for place in retrained:
        axes.axvline(place, color=NEUTRAL, linewidth=0.8, linestyle=":", zorder=1)
    asked = forgotten(rows)
    axes.set_xlabel(f"strongest attack on {asked}, % (further left: less can be read)")
    axes.set_ylabel("accuracy on retained test samples, %")
    axes.grid(alpha=0.3)
    kinds = [one for one, _, _ in shown]
    legend_of_kinds(axes, kinds, loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=3)
    axes.margins(0.12)
    place_names(axes, points, [one.row["label"] for one, _, _ in shown])
    said = f"{ERRORS}\nDashed: no other method is better in both."
    headed(figure, axes, title, said + " Dotted: the retrained network." * bool(retrained))
    return [Drawing("", figure, _told_points(asked, shown, front))]


def _front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both directions, from left to right."""
    return sorted(
        point
        for point in points
        if not any(
            other[0] <= point[0] and other[1] >= point[1] and other != point for other in points
        )
    )


def _told_points(
    asked: str, shown: Sequence[tuple[Filled, Spread, Spread]], front: Sequence[Point]
) -> str:
    ordered = sorted(shown, key=lambda one: one[1].mean)
    told = "; ".join(
        f"{one.row['label']} {x.mean:.1f} % and {y.mean:.1f} %" for one, x, y in ordered
    )
    best = ", ".join(
        one.row["label"]
        for one, x, y in ordered
        if (x.mean, y.mean) in front and one.row["method"] not in REFERENCES
    )
    return (
        f"What the strongest attack reads of {asked}, and what is kept, from the left: {told}."
        f" On the dashed line, beaten by none in both: {best}."
    )


def steps(title: str, rows: Sequence[Filled]) -> Drawn:
    """One request after the other: remaining accuracy and the strongest attack on everything that
    was to be forgotten.
    """
    shown = [one for one in rows if one.results and len(one.results[0]["steps"]) > 1]
    if not shown:
        return []
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.2))
    asked = _requests(shown[0])
    panels = figure.subplots(1, 2)
    for panel, (key, name) in zip(
        panels,
        (("strongest", "strongest attack, %"), ("D_rt", "accuracy on retained\ntest samples, %")),
        strict=True,
    ):
        for place, one in enumerate(shown):
            _curve(panel, place, one, key)
        panel.set_xticks(range(1, len(asked) + 1), asked, rotation=30, ha="right")
        panel.set_xlabel("requests, one after the other")
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    panels[0].legend(frameon=False, fontsize=7.5)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    explained(figure, ERRORS)
    return [Drawing("", figure, _told_steps(shown, asked))]


def _requests(one: Filled) -> list[str]:
    """Names of the classes of each request."""
    result = one.results[0]
    return [
        "+ " + ", ".join(class_name(result, label) for label in step)
        for step in result["cell"]["request"]["steps"]
    ]


def _curve(panel: Any, place: int, one: Filled, key: str) -> None:
    found = [spread_of(one, key, step) for step in range(len(one.results[0]["steps"]))]
    known = [(at, value) for at, value in enumerate(found, 1) if value is not None]
    panel.errorbar(
        [at for at, _ in known],
        [value.mean for _, value in known],
        yerr=bars_of([value for _, value in known]),
        marker=MARKS[place % len(MARKS)],
        color=COLOURS[place % len(COLOURS)],
        elinewidth=0.7,
        label=one.row["label"],
    )


def _told_steps(shown: Sequence[Filled], asked: Sequence[str]) -> str:
    last = len(asked) - 1
    told = []
    for one in shown:
        ends = [
            (spread_of(one, key, 0), spread_of(one, key, last)) for key in ("strongest", "D_rt")
        ]
        said = [
            f"{first.mean:.1f} % to {end.mean:.1f} %"
            for first, end in ends
            if first is not None and end is not None
        ]
        told.append(f"{one.row['label']} {', '.join(said)}")
    return (
        f"After the first and the last of {len(asked)} requests ({', '.join(asked)}), what the"
        f" strongest attack reads, and what is kept: {'; '.join(told)}."
    )
