"""Figures of points and lines: what a method keeps against what it leaves; several requests."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from unspan.benchmark.figures.drawing import (
    MARKS,
    NEUTRAL,
    Drawn,
    colour_of,
    legend_of_kinds,
    mean_of,
    new_axes,
    place_names,
)
from unspan.benchmark.table_values import REFERENCES, Filled


def pareto(title: str, rows: Sequence[Filled]) -> Drawn:
    """Remaining test accuracy against the strongest attack; the front is what no other method beats
    in both.
    """
    shown = [
        one
        for one in rows
        if mean_of(one, "strongest") is not None and mean_of(one, "D_rt") is not None
    ]
    if not shown:
        return []
    figure, axes = new_axes(6.8, 4.6)
    points = [(mean_of(one, "strongest") or 0.0, mean_of(one, "D_rt") or 0.0) for one in shown]
    for place, (one, (x, y)) in enumerate(zip(shown, points, strict=True)):
        axes.scatter(x, y, color=colour_of(one), marker=MARKS[place % len(MARKS)], s=42, zorder=3)
    free = [
        point
        for one, point in zip(shown, points, strict=True)
        if one.row["method"] not in REFERENCES
    ]
    front = sorted(
        point
        for point in free
        if not any(
            (other[0] <= point[0] and other[1] >= point[1]) and other != point for other in free
        )
    )
    axes.plot(
        [x for x, _ in front],
        [y for _, y in front],
        color=NEUTRAL,
        linewidth=1,
        linestyle="--",
        zorder=1,
    )
    axes.set_xlabel("strongest attack on the forgotten class, % (left: less is left)")
    axes.set_ylabel("remaining test accuracy, %")
    axes.grid(alpha=0.3)
    legend_of_kinds(axes, shown, loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=3)
    axes.set_title(title, loc="left", fontsize=9)
    axes.margins(0.12)
    place_names(axes, points, [one.row["label"] for one in shown])
    return [("", figure)]


def steps(title: str, rows: Sequence[Filled]) -> Drawn:
    """One request after the other: remaining accuracy and the strongest attack on everything that
    was to be forgotten.
    """
    shown = [one for one in rows if len(one.results[0]["steps"]) > 1]
    if not shown:
        return []
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.0))
    for panel, (key, name) in zip(
        figure.subplots(1, 2),
        (("D_rt", "remaining test accuracy, %"), ("strongest", "strongest attack, %")),
        strict=True,
    ):
        for place, one in enumerate(shown):
            values = [
                statistics.fmean(
                    value
                    for result in one.results
                    if (value := result["steps"][step]["values"].get(key, {}).get("value"))
                    is not None
                )
                for step in range(len(one.results[0]["steps"]))
            ]
            panel.plot(
                range(1, len(values) + 1),
                values,
                marker=MARKS[place % len(MARKS)],
                label=one.row["label"],
            )
        panel.set_xlabel("requests so far")
        panel.set_ylabel(name)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize=7.5)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    return [("", figure)]
